"""What a run leaves behind: metrics, checkpoints and TensorBoard. The chief of its hosts alone
writes them, and decides by them."""

import dataclasses
import time
from collections.abc import Callable

import numpy as np
from etils import epath

from components.base import console
from trainer.build import TrainingRun
from trainer.config import RunOptions
from trainer.recording.checkpoints import Checkpoint, Checkpoints
from trainer.recording.heldout import HeldoutEvaluation
from trainer.recording.monitor import EpochMetrics, Monitor
from trainer.recording.profiling import Profile

_PICTURES = 10  # How many times a run shows what it draws.


@dataclasses.dataclass(frozen=True)
class Position:
    """How far a run is.

    Attributes:
      step: steps done.
      epoch_sums: float64 [2], rate and distortion summed over the running epoch so far, in nats.
    """

    step: int
    epoch_sums: np.ndarray


class Recorder:
    """Keeps the books of a run, in its draft directory.

    Args:
      run: its parts; takes up the state of the last checkpoint, if there is one.
      directory: where to write.
      heldout: scores the model; None without held-out examples.
      options: how often to write.
      clock: seconds, for the checkpoints within an epoch.

    Raises:
      WorkError: what an earlier process left is damaged.
    """

    def __init__(
        self,
        run: TrainingRun,
        directory: epath.Path,
        *,
        heldout: HeldoutEvaluation | None,
        options: RunOptions,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._run = run
        self._heldout = heldout
        self._seconds = options.checkpoint_seconds
        self._clock = clock
        self.checkpoints = Checkpoints(directory / "checkpoints")
        self.position = self._restore()
        self._saved_at = clock()
        self.profile = Profile(directory / "tensorboard", steps=options.profile)
        batches = run.batches
        epoch, done = divmod(self.position.step, batches.steps_per_epoch)
        self._monitor = Monitor(
            directory,
            num_examples=batches.num_examples,
            epochs=run.config.epochs,
            met=epoch * batches.num_examples + batches.num_seen(done),
            resumed_step=self.position.step,
        )

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *exception: object) -> None:
        self._monitor.__exit__(*exception)

    @property
    def history(self) -> list[EpochMetrics]:
        """The metrics of every epoch so far."""
        return self._monitor.history

    def has_patience(self) -> bool:
        """Whether to go on: false once too many epochs have brought no better held-out ELBO."""
        best = _best(self.history)
        if not self._run.config.patience or best is None:
            return True
        return self.history[-1].epoch - best.epoch < self._run.config.patience

    def on_steps(self, step: int, *, examples: int, means: np.ndarray) -> None:
        """After a call of steps.

        Args:
          step: steps done.
          examples: how many the call met.
          means: rate and distortion of the epoch's examples so far, in nats.
        """
        self._monitor.on_steps(
            epoch=-(-step // self._run.batches.steps_per_epoch),
            step=step,
            examples=examples,
            losses=_losses(means, self._run.config.beta),
        )

    def on_epoch(
        self, position: Position, state: dict[str, np.ndarray], *, means: np.ndarray
    ) -> None:
        """At the end of an epoch: evaluates, and records it all."""
        config, steps = self._run.config, self._run.loop.steps
        epoch = position.step // self._run.batches.steps_per_epoch
        heldout, details = None, None
        is_due = epoch % config.eval_every == 0 or epoch == config.epochs
        if self._heldout is not None and is_due:
            heldout, details = self._heldout.measure(kept_weights(state))
        is_shown = epoch % -(-config.epochs // _PICTURES) == 0 or epoch in (1, config.epochs)
        beta = float(steps.beta(state["step"] - 1))
        metrics = EpochMetrics(
            epoch=epoch,
            step=position.step,
            train=_losses(means, beta),
            heldout=heldout,
            learning_rate=float(steps.update.schedule(state["updates"] - 1)),
            beta=beta,
        )
        # Before the checkpoint: a resumed run drops a row, but cannot make one up.
        scale = float(state["loss_scale"]) if steps.update.loss_scale else None
        self._monitor.on_epoch(metrics, details if is_shown else None, loss_scale=scale)
        self.save(position, state, is_best=heldout is not None and _best(self.history) is metrics)

    def save(
        self, position: Position, state: dict[str, np.ndarray], *, is_best: bool = False
    ) -> None:
        """Writes a checkpoint."""
        checkpoint = Checkpoint(position.step, state, position.epoch_sums)
        self.checkpoints.save(checkpoint, is_best=is_best)
        self._saved_at = self._clock()

    def is_checkpoint_due(self) -> bool:
        """Whether the last one is long ago."""
        return self._clock() - self._saved_at >= self._seconds

    def kept(self, state: dict[str, np.ndarray]) -> tuple[EpochMetrics, list[np.ndarray]]:
        """The epoch whose model is kept, and its weights, given the run's last state."""
        best = _best(self.history)
        if self._run.config.keep == "best" and best is not None and best is not self.history[-1]:
            checkpoint = self.checkpoints.best()
            if checkpoint is not None and checkpoint.step == best.step:
                return best, kept_weights(checkpoint.arrays)
            console.warn("the checkpoint of the best held-out ELBO is lost; keeping the last model")
        return self.history[-1], kept_weights(state)

    def _restore(self) -> Position:
        checkpoint = self.checkpoints.latest()
        if checkpoint is None:
            return Position(0, np.zeros(2))
        self._run.loop.restore(checkpoint.arrays)
        console.say(f"train: going on from step {checkpoint.step}")
        return Position(checkpoint.step, checkpoint.epoch_sums)


def kept_weights(state: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The weights to evaluate and to keep: their averages, where a state has them."""
    averages = [array for name, array in state.items() if name.startswith("averages/")]
    return averages or [array for name, array in state.items() if name.startswith("weights/")]


def _losses(means: np.ndarray, beta: float) -> dict[str, float]:
    rate, distortion = (float(mean) for mean in means)
    return {"loss": distortion + beta * rate, "rate": rate, "distortion": distortion}


def _best(history: list[EpochMetrics]) -> EpochMetrics | None:
    """The epoch of the best held-out ELBO, the first of equals."""
    losses = [(row.heldout["loss"], row.epoch) for row in history if row.heldout is not None]
    return history[min(losses)[1] - 1] if losses else None
