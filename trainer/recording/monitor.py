"""The metrics of a run while it trains: the progress display, `metrics.jsonl` and TensorBoard."""

import time
from collections.abc import Callable

from etils import epath

from components.base.progress import Progress
from trainer.recording.epoch_metrics import (
    EPOCH_METRICS_FILE,
    EpochMetrics,
    damaged,
    digest,
    read_metrics,
    write_metrics,
)
from trainer.recording.tensorboard import HeldoutPictures, TensorBoard


class Monitor:
    """Displays and stores the metrics of a run.

    Args:
      directory: directory of `metrics.jsonl` and `tensorboard/`.
      num_examples: number of training examples of an epoch.
      epochs: number of epochs of the run.
      examples_done: number of examples, counted once per epoch, that earlier processes trained on.
      resumed_step: step that the run resumes from. What a killed process recorded after this step
        is dropped.
      resumed_metrics: digest of the metrics up to this step; empty if it is not known.
      clock: time in seconds, for the lines of a log.

    Raises:
      WorkError: the existing `metrics.jsonl` is damaged.
    """

    def __init__(
        self,
        directory: epath.Path,
        *,
        num_examples: int,
        epochs: int,
        examples_done: int,
        resumed_step: int,
        resumed_metrics: str = "",
        clock: Callable[[], float] = time.monotonic,
    ):
        self._file = directory / EPOCH_METRICS_FILE
        self._epochs = epochs
        self.history = [row for row in read_metrics(self._file) if row.step <= resumed_step]
        if len(self.history) != examples_done // num_examples:
            raise damaged(self._file, f"rows of epochs up to step {resumed_step} are missing")
        if resumed_metrics and digest(self.history) != resumed_metrics:
            reason = f"its rows are not those that the checkpoint of step {resumed_step} continues"
            raise damaged(self._file, reason)
        write_metrics(self._file, self.history)
        self._tensorboard = TensorBoard(directory / "tensorboard", resumed_step=resumed_step)
        self._progress = Progress(
            epochs * num_examples, done=examples_done, unit="images", clock=clock
        )

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.close()
        self._tensorboard.close()

    def show_progress(
        self, *, epoch: int, step: int, num_examples: int, losses: dict[str, float]
    ) -> None:
        """Displays the progress after a call of steps.

        Args:
          epoch: number of the current epoch, counted from 1.
          step: number of steps done.
          num_examples: number of examples in the call.
          losses: `loss`, `rate` and `distortion` in nats: means over the epoch so far.
        """
        self._progress.advance(
            num_examples,
            label=f"epoch {epoch}/{self._epochs}",
            figures=self._figures(losses),
            line=self._line(epoch, step, losses, heldout=None),
        )

    def record_epoch(
        self,
        metrics: EpochMetrics,
        pictures: HeldoutPictures | None = None,
        *,
        loss_scale: float | None = None,
    ) -> None:
        """Records the metrics of an epoch at its end.

        Args:
          metrics: the epoch's row of `metrics.jsonl`.
          pictures: pictures for TensorBoard; None for none.
          loss_scale: factor of the loss in float16; None for other precisions.
        """
        self.history.append(metrics)
        write_metrics(self._file, self.history)
        settings = {"learning_rate": metrics.learning_rate, "beta": metrics.beta}
        if loss_scale is not None:
            settings["loss_scale"] = loss_scale
        heldout = metrics.heldout or {}
        if heldout:
            heldout = heldout | {"elbo": -heldout["loss"]}
        self._tensorboard.write(
            metrics.step, train=metrics.train | settings, heldout=heldout, pictures=pictures
        )
        self._progress.milestone(
            self._line(metrics.epoch, metrics.step, metrics.train, metrics.heldout),
            figures=self._figures(metrics.train),
        )

    def _figures(self, losses: dict[str, float]) -> dict[str, str]:
        """The figures after the progress bar: the loss and the last held-out ELBO, in nats."""
        figures = {"loss": f"{losses['loss']:z.2f}"}
        if heldout_losses := [row.heldout["loss"] for row in self.history if row.heldout]:
            figures["ELBO"] = f"{-heldout_losses[-1]:z.2f}"
        return figures

    def _line(
        self, epoch: int, step: int, losses: dict[str, float], heldout: dict[str, float] | None
    ) -> str:
        # The estimate of a rate near 0 can be negative: the format z prints 0.0 instead of -0.0.
        elbo = f", held-out ELBO {-heldout['loss']:z.2f}" if heldout else ""
        return (
            f"train: epoch {epoch}/{self._epochs}, step {step:,}, loss {losses['loss']:z.2f} "
            f"(rate {losses['rate']:z.1f}, distortion {losses['distortion']:z.1f}){elbo} nats"
        )
