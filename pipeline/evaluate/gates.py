"""Gates: requirements of an evaluation, which determine the exit code, for CI.

A gate is `elbo>=-240`: the name of a metric, a comparison and a number. Gates do not affect how the
evaluation is made, so they are not settings of it: an evaluation that is up to date is checked
against the gates of every call.
"""

import dataclasses
import math
import operator
import re
from collections.abc import Callable, Collection, Iterable, Sequence

from etils import epath

from components.base.errors import ConfigError, WorkError, nearest
from components.base.manifest import load_artifact
from components.metrics.doctor import ERROR
from pipeline.evaluate.metrics import METRICS
from pipeline.evaluate.scores import Scores

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_GATE = re.compile(r"\s*(\w+)\s*(>=|<=|>|<)\s*(\S+)\s*")


@dataclasses.dataclass(frozen=True)
class Gate:
    """A condition on the mean of a metric.

    Attributes:
      metric: its name in `METRICS`.
      comparison: `>=`, `<=`, `>` or `<`.
      limit: in the unit of the metric.
    """

    metric: str
    comparison: str
    limit: float

    def __str__(self) -> str:
        return f"{self.metric}{self.comparison}{self.limit:.15g}"

    @staticmethod
    def parse(text: str) -> "Gate":
        """The gate that a user has written.

        Raises:
          ConfigError: it has another form, or its metric is unknown.
        """
        match = _GATE.fullmatch(text)
        limit = _number(match[3]) if match else None
        if match is None or limit is None:
            raise ConfigError(
                f"--gate {text!r} is not a metric, one of {', '.join(_COMPARISONS)} and a number; "
                "write, for example, --gate 'elbo>=-240', in quotes"
            )
        if match[1] not in METRICS:
            raise ConfigError(
                f"--gate {text!r}: unknown metric {match[1]!r}; {nearest(match[1], METRICS)}"
            )
        return Gate(match[1], match[2], limit)


@dataclasses.dataclass(frozen=True)
class Requirements:
    """The requirements of an evaluation.

    Attributes:
      gates: conditions on metrics.
      is_strict: whether findings of the doctor with severity `error` fail the evaluation.
    """

    gates: Sequence[Gate] = ()
    is_strict: bool = False

    @staticmethod
    def parse(gates: Iterable[str], *, is_strict: bool, metrics: Collection[str]) -> "Requirements":
        """The requirements that a user has written.

        Args:
          gates: as written.
          is_strict: see above.
          metrics: names of the metrics that the evaluation measures.

        Raises:
          ConfigError: a gate is malformed, or its metric is unknown or not measured.
        """
        parsed = [Gate.parse(text) for text in gates]
        for gate in parsed:
            if gate.metric not in metrics:
                raise ConfigError(
                    f"--gate {str(gate)!r}: {gate.metric} is not among the metrics of --metrics; "
                    "add it there"
                )
        return Requirements(parsed, is_strict)

    def check(self, directory: epath.PathLike) -> None:
        """Checks the evaluation that is published in a directory.

        Raises:
          WorkError: a requirement is not met; the message names all such requirements.
        """
        if not self.gates and not self.is_strict:
            return
        evaluation = load_artifact(directory, stage="evaluate")
        scores = Scores.of(evaluation)
        failures = [text for gate in self.gates if (text := _failure(gate, scores))]
        if self.is_strict:
            failures += _errors(scores)
        if failures:
            raise WorkError(f"{evaluation.path}: {'; '.join(failures)}")


def _failure(gate: Gate, scores: Scores) -> str | None:
    """Why a gate is not passed; None if it is."""
    mean = scores.means.get(gate.metric)
    if mean is None:
        reason = scores.not_measured.get(gate.metric, "it was not asked for with --metrics")
        return f"gate {gate} failed: this evaluation has no {gate.metric}: {reason}"
    if _COMPARISONS[gate.comparison](mean.value, gate.limit):
        return None
    value = f"{mean.value:.6g}"
    if float(value) != mean.value and _COMPARISONS[gate.comparison](float(value), gate.limit):
        # Rounded to fewer digits, the value would seem to pass.
        value = repr(mean.value)
    return f"gate {gate} failed: {gate.metric} is {value}"


def _errors(scores: Scores) -> list[str]:
    """The errors that the doctor has found."""
    if scores.doctor is None:
        return ["it was made by a version without the doctor; evaluate again with --overwrite"]
    return [each.text for each in scores.doctor if each.severity == ERROR]


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
