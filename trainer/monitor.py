"""What a run shows while it trains: a progress line, metrics.jsonl and TensorBoard."""

import dataclasses
import json
import sys
from typing import Any

import tensorflow as tf
from etils import epath
from tqdm import tqdm

from components import artifacts


@dataclasses.dataclass(frozen=True)
class EpochMetrics:
    """Losses of one epoch, in nats per example.

    Attributes:
      epoch: counted from 1.
      step: steps done at its end.
      train: `loss`, `rate` and `distortion`, averaged over the epoch's examples as they were met.
      heldout: `loss` (the negative ELBO), `rate` and `distortion` at its end; None if not measured.
    """

    epoch: int
    step: int
    train: dict[str, float]
    heldout: dict[str, float] | None


class Monitor:
    """Shows and stores a run's metrics.

    Args:
      directory: gets `metrics.jsonl` and `tensorboard/`.
      num_examples: training examples of an epoch.
      epochs: of the run.
      met: examples that the run has met before.
      resumed_step: what was recorded after this step, by a process that was killed, is dropped.
    """

    def __init__(
        self, directory: epath.Path, *, num_examples: int, epochs: int, met: int, resumed_step: int
    ):
        self._file = directory / "metrics.jsonl"
        self._epochs = epochs
        self.history = [row for row in read_metrics(self._file) if row.step <= resumed_step]
        self._write_history()
        self._writer = tf.summary.create_file_writer(str(directory / "tensorboard"))
        # On a terminal only: a log stays quiet.
        self._bar = tqdm(
            total=epochs * num_examples,
            initial=met,
            unit=" images",
            unit_scale=True,
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
            mininterval=0.2,
        )

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        self._writer.close()

    def on_steps(self, *, epoch: int, examples: int, losses: dict[str, float]) -> None:
        """After a call of steps: `examples` were met, `losses` is the running epoch's so far."""
        self._bar.set_description(f"epoch {epoch}/{self._epochs}", refresh=False)
        shown = {name: f"{value:.2f}" for name, value in losses.items()}
        if self.history and (heldout := self.history[-1].heldout):
            shown["elbo"] = f"{-heldout['loss']:.2f}"
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update(examples)

    def on_epoch(self, metrics: EpochMetrics) -> None:
        """At the end of an epoch."""
        self.history.append(metrics)
        self._write_history()
        with self._writer.as_default(step=metrics.epoch):
            for part, losses in (("train", metrics.train), ("heldout", metrics.heldout or {})):
                for name, value in losses.items():
                    tf.summary.scalar(f"{name}/{part}", value)
        self._writer.flush()

    def _write_history(self) -> None:
        """A few dozen lines, written anew and whole: no kill leaves half a line."""
        lines = (json.dumps(dataclasses.asdict(row)) + "\n" for row in self.history)
        with artifacts.written_whole(self._file) as temporary:
            temporary.write_text("".join(lines))


def read_metrics(path: epath.Path) -> list[EpochMetrics]:
    """The rows of a metrics.jsonl; none if it is not there."""
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()]
    return [EpochMetrics(**row) for row in rows]
