"""What a run shows while it trains: a progress line, metrics.jsonl and TensorBoard."""

import dataclasses
import json
import sys
import time
from collections.abc import Callable

from etils import epath
from tqdm import tqdm

from components.base import artifacts, console, files
from components.base.errors import WorkError
from trainer.recording.tensorboard import HeldoutPictures, TensorBoard

_LOG_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class EpochMetrics:
    """Losses of one epoch, in nats per example.

    Attributes:
      epoch: counted from 1.
      step: steps done at its end.
      train: `loss`, `rate` and `distortion`, averaged over the epoch's examples as they were met.
      heldout: `loss` (the negative ELBO), `rate` and `distortion` at its end; None if not measured.
      learning_rate: of its last step.
      beta: weight of the rate in the loss of its last step.
    """

    epoch: int
    step: int
    train: dict[str, float]
    heldout: dict[str, float] | None
    learning_rate: float
    beta: float


class Monitor:
    """Shows and stores a run's metrics.

    Args:
      directory: gets `metrics.jsonl` and `tensorboard/`.
      num_examples: training examples of an epoch.
      epochs: of the run.
      met: examples that the run has met before.
      resumed_step: what was recorded after this step, by a process that was killed, is dropped.
      clock: seconds, for the lines of a log.

    Raises:
      WorkError: the `metrics.jsonl` that is there is damaged.
    """

    def __init__(
        self,
        directory: epath.Path,
        *,
        num_examples: int,
        epochs: int,
        met: int,
        resumed_step: int,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._file = directory / "metrics.jsonl"
        self._epochs = epochs
        self.history = [row for row in read_metrics(self._file) if row.step <= resumed_step]
        if len(self.history) != met // num_examples:
            raise _damaged(self._file, f"rows are missing of the epochs up to step {resumed_step}")
        self._write_history()
        self._tensorboard = TensorBoard(directory / "tensorboard", resumed_step=resumed_step)
        is_terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=epochs * num_examples,
            initial=met,
            unit=" images",
            unit_scale=True,
            dynamic_ncols=True,
            disable=not is_terminal,
            mininterval=0.2,
        )
        self._log = None if is_terminal else _Log(clock)

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        if self._log:
            self._log.close()
        self._tensorboard.close()

    def on_steps(self, *, epoch: int, step: int, examples: int, losses: dict[str, float]) -> None:
        """After a call of steps: `examples` were met, `losses` is the running epoch's so far."""
        self._bar.set_description(f"epoch {epoch}/{self._epochs}", refresh=False)
        shown = {name: f"{value:.2f}" for name, value in losses.items()}
        if measured := [row.heldout for row in self.history if row.heldout]:
            shown["elbo"] = f"{-measured[-1]['loss']:.2f}"
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update(examples)
        if self._log:
            self._log.on_steps(self._line(epoch, step, losses, heldout=None))

    def on_epoch(
        self,
        metrics: EpochMetrics,
        details: HeldoutPictures | None = None,
        *,
        loss_scale: float | None = None,
    ) -> None:
        """At the end of an epoch; `loss_scale` is that of float16."""
        self.history.append(metrics)
        self._write_history()
        settings = {"learning_rate": metrics.learning_rate, "beta": metrics.beta}
        if loss_scale is not None:
            settings["loss_scale"] = loss_scale
        heldout = metrics.heldout or {}
        if heldout:
            heldout = heldout | {"elbo": -heldout["loss"]}
        self._tensorboard.write(
            metrics.step, train=metrics.train | settings, heldout=heldout, details=details
        )
        if self._log:
            line = self._line(metrics.epoch, metrics.step, metrics.train, metrics.heldout)
            self._log.on_epoch(line)

    def _line(
        self, epoch: int, step: int, losses: dict[str, float], heldout: dict[str, float] | None
    ) -> str:
        elbo = f", held-out ELBO {-heldout['loss']:.2f}" if heldout else ""
        return (
            f"train: epoch {epoch}/{self._epochs}, step {step:,}, loss {losses['loss']:.2f} "
            f"(rate {losses['rate']:.1f}, distortion {losses['distortion']:.1f}){elbo} nats"
        )

    def _write_history(self) -> None:
        """A few dozen lines, written anew and whole: no kill leaves half a line."""
        lines = (json.dumps(dataclasses.asdict(row)) + "\n" for row in self.history)
        with artifacts.atomic_write(self._file) as temporary:
            files.write_durably(temporary, "".join(lines))


def read_metrics(path: epath.Path) -> list[EpochMetrics]:
    """The rows of a metrics.jsonl; none if it is not there.

    Raises:
      WorkError: it is damaged.
    """
    if not path.exists():
        return []
    names = {field.name for field in dataclasses.fields(EpochMetrics)}
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            row = json.loads(line)
        except ValueError:  # No JSON, or not even text.
            row = None
        if not isinstance(row, dict) or row.keys() != names or row["epoch"] != number:
            raise _damaged(path, f"line {number} is not the row of epoch {number}")
        rows.append(EpochMetrics(**row))
    return rows


def _damaged(path: epath.Path, how: str) -> WorkError:
    return WorkError(f"{path} is damaged: {how}; restore it, or train anew with --overwrite")


class _Log:
    """Lines for a log: one a minute at most, and one for the last epoch."""

    def __init__(self, clock: Callable[[], float]):
        self._clock = clock
        self._last_line = self._epoch_began = clock()
        self._unsaid = ""

    def on_steps(self, line: str) -> None:
        """Says it in an epoch of more than a minute; the end of a shorter one says more."""
        if self._clock() - max(self._last_line, self._epoch_began) >= _LOG_SECONDS:
            self._say(line)

    def on_epoch(self, line: str) -> None:
        self._epoch_began = self._clock()
        self._unsaid = line
        if self._epoch_began - self._last_line >= _LOG_SECONDS:
            self._say(line)

    def close(self) -> None:
        if self._unsaid:
            self._say(self._unsaid)

    def _say(self, line: str) -> None:
        console.say(line)
        self._last_line = self._clock()
        self._unsaid = ""
