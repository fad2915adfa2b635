"""The recorder of the chief, which writes metrics, checkpoints and TensorBoard's files."""

import time
from collections.abc import Callable

import numpy as np
from etils import epath

from components.base import console
from components.base.arithmetic import ceil_div
from trainer.build import TrainingRun
from trainer.config import RunOptions
from trainer.recording.checkpoints import Checkpoint, Checkpoints, RunStates
from trainer.recording.epoch_metrics import EpochMetrics, digest
from trainer.recording.heldout import HeldoutEvaluation
from trainer.recording.monitor import Monitor
from trainer.recording.profiling import NoProfiler, Profiler, TraceProfiler
from trainer.recording.recorder import Position

# Approximate number of epochs with pictures in TensorBoard.
_NUM_PICTURES = 10


class ChiefRecorder:
    """A `Recorder` that writes into the run's draft directory.

    Args:
      run: parts of the run; its loop is set to the state of the newest checkpoint, if there is one.
      directory: draft directory of the run.
      heldout: evaluates the model; None if the dataset has no validation split.
      options: how often to write.
      fingerprint: digest of all that determines the states of the run.
      clock: time in seconds, for the checkpoints within an epoch.

    Raises:
      WorkError: files that an earlier process left are damaged, or are of another run.
    """

    def __init__(
        self,
        run: TrainingRun,
        directory: epath.Path,
        *,
        heldout: HeldoutEvaluation | None,
        options: RunOptions,
        fingerprint: str,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._run = run
        self._heldout = heldout
        self._checkpoint_seconds = options.checkpoint_seconds
        self._clock = clock
        variables = run.loop.state.named()
        states = RunStates(
            run=fingerprint,
            shapes={
                name: (tuple(variable.shape), np.dtype(variable.dtype.as_numpy_dtype))
                for name, variable in variables.items()
            },
            last_step=run.total_steps,
        )
        self._checkpoints = Checkpoints(directory / "checkpoints", states)
        self.position, resumed_metrics = self._resume()
        self._saved_at = clock()
        self.profiler: Profiler = NoProfiler()
        if options.profile:
            self.profiler = TraceProfiler(directory / "tensorboard", steps=options.profile)
        batches = run.batches
        epochs_done, steps_of_epoch = divmod(self.position.step, batches.steps_per_epoch)
        self._monitor = Monitor(
            directory,
            num_examples=batches.num_examples,
            epochs=run.config.epochs,
            examples_done=epochs_done * batches.num_examples + batches.num_seen(steps_of_epoch),
            resumed_step=self.position.step,
            resumed_metrics=resumed_metrics,
        )

    def __enter__(self) -> "ChiefRecorder":
        return self

    def __exit__(self, *exception: object) -> None:
        self._monitor.__exit__(*exception)

    @property
    def history(self) -> list[EpochMetrics]:
        """The metrics of all epochs so far."""
        return self._monitor.history

    def should_stop_early(self) -> bool:
        """Whether `patience` epochs have passed without a better held-out ELBO."""
        best = _best_epoch(self.history)
        if not self._run.config.patience or best is None:
            return False
        return self.history[-1].epoch - best.epoch >= self._run.config.patience

    def record_steps(self, step: int, *, num_examples: int, means: np.ndarray) -> None:
        """Displays the progress after a call of steps."""
        self._monitor.show_progress(
            epoch=ceil_div(step, self._run.batches.steps_per_epoch),
            step=step,
            num_examples=num_examples,
            losses=_losses(means, self._run.config.beta),
        )

    def record_epoch(
        self, position: Position, state: dict[str, np.ndarray], *, means: np.ndarray
    ) -> None:
        """Evaluates the model, records the metrics of the epoch and saves a checkpoint."""
        config, step_config = self._run.config, self._run.loop.step_config
        epoch = position.step // self._run.batches.steps_per_epoch
        is_last = epoch == config.epochs
        heldout, pictures = None, None
        if self._heldout is not None and (epoch % config.eval_every == 0 or is_last):
            heldout, pictures = self._heldout.measure(evaluation_weights(state))
        beta = float(step_config.beta(state["step"] - 1))
        metrics = EpochMetrics(
            epoch=epoch,
            step=position.step,
            train=_losses(means, beta),
            heldout=heldout,
            learning_rate=float(step_config.update.learning_rate(state["updates"] - 1)),
            beta=beta,
        )
        shows_pictures = (
            epoch == 1 or epoch % ceil_div(config.epochs, _NUM_PICTURES) == 0 or is_last
        )
        # Before the checkpoint: if the process is killed between the two, the resumed run drops the
        # row and trains the epoch again. In the other order, the epoch would have no row.
        self._monitor.record_epoch(
            metrics,
            pictures if shows_pictures else None,
            loss_scale=float(state["loss_scale"]) if step_config.update.loss_scale else None,
        )
        is_best = heldout is not None and _best_epoch(self.history) is metrics
        self._save(position, state, is_best=is_best)

    def needs_checkpoint(self, *, is_stopping: bool) -> bool:
        """Whether the run stops, or `checkpoint_seconds` have passed since the last checkpoint."""
        return is_stopping or self._clock() - self._saved_at >= self._checkpoint_seconds

    def save_checkpoint(self, position: Position, state: dict[str, np.ndarray]) -> None:
        """Saves a checkpoint."""
        self._save(position, state, is_best=False)

    def last_saved_step(self) -> int | None:
        """The step of the newest intact checkpoint; None if there is none."""
        checkpoint = self._checkpoints.latest()
        return checkpoint.step if checkpoint else None

    def select_model(self, state: dict[str, np.ndarray]) -> tuple[EpochMetrics, list[np.ndarray]]:
        """The model to publish, as the setting `keep` asks for.

        Args:
          state: training state at the end of the run, by name.

        Returns:
          The metrics of its epoch, and its weights.
        """
        best, last = _best_epoch(self.history), self.history[-1]
        if best is None:
            return last, evaluation_weights(state)
        checkpoint = self._checkpoints.best()
        # Never publish the weights of another step with this row's metrics.
        if checkpoint is None or checkpoint.step != best.step:
            if best is last:
                self._checkpoints.save_best(
                    self._checkpoint(Position(last.step, np.zeros(2)), state)
                )
            else:
                console.warn(
                    f"the checkpoint of the best held-out ELBO, {_elbo(best)} in epoch "
                    f"{best.epoch}, is lost; publishing the model of the last epoch, {last.epoch}"
                    + (f", with {_elbo(last)}" if last.heldout else "")
                )
        elif self._run.config.keep == "best":
            return best, evaluation_weights(checkpoint.arrays)
        return last, evaluation_weights(state)

    def delete_unpublished_checkpoints(self) -> None:
        """Deletes the checkpoints that only served to resume the run.

        Raises:
          WorkError: there is one that is not of this run.
        """
        self._checkpoints.delete_all_but(self.history[-1].step)

    def _save(self, position: Position, state: dict[str, np.ndarray], *, is_best: bool) -> None:
        self._checkpoints.save(self._checkpoint(position, state), is_best=is_best)
        self._saved_at = self._clock()

    def _checkpoint(self, position: Position, state: dict[str, np.ndarray]) -> Checkpoint:
        return Checkpoint(
            position.step, state, position.epoch_sums, metrics=digest(self._monitor.history)
        )

    def _resume(self) -> tuple[Position, str]:
        """Sets the loop to the state of the newest checkpoint, if there is one.

        Returns:
          The position to continue from, and the digest of the metrics up to it, if it is known.
        """
        checkpoint = self._checkpoints.latest()
        if checkpoint is None:
            return Position.start(), ""
        self._run.loop.restore(checkpoint.arrays)
        console.say(f"train: resuming from step {checkpoint.step}")
        return Position(checkpoint.step, checkpoint.epoch_sums), checkpoint.metrics


def evaluation_weights(state: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The weights to evaluate and publish: their moving averages, if the run keeps averages.

    Args:
      state: training state by name.
    """
    averages = [array for name, array in state.items() if name.startswith("averages/")]
    return averages or [array for name, array in state.items() if name.startswith("weights/")]


def _losses(means: np.ndarray, beta: float) -> dict[str, float]:
    rate, distortion = (float(mean) for mean in means)
    return {"loss": distortion + beta * rate, "rate": rate, "distortion": distortion}


def _elbo(row: EpochMetrics) -> str:
    """The held-out ELBO of an epoch that has one, for a message."""
    return f"{-(row.heldout or {})['loss']:.2f} nats"


def _best_epoch(history: list[EpochMetrics]) -> EpochMetrics | None:
    """The epoch with the best held-out ELBO, the first if there are several; None if unmeasured."""
    losses = [(row.heldout["loss"], row.epoch) for row in history if row.heldout is not None]
    return history[min(losses)[1] - 1] if losses else None
