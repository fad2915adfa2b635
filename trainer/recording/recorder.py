"""The recorder of a run, as the training loop sees it, and the one that records nothing."""

import dataclasses
from typing import Protocol

import numpy as np

from trainer.recording.profiling import NoProfiler, Profiler


@dataclasses.dataclass(frozen=True)
class Position:
    """How far a run has come.

    Attributes:
      step: number of steps done.
      epoch_sums: float64, shape [2]: rate and distortion in nats, summed over the examples of the
        current epoch so far.
    """

    step: int
    epoch_sums: np.ndarray

    @staticmethod
    def start() -> "Position":
        """The position of a run that has done no step."""
        return Position(0, np.zeros(2))


class Recorder(Protocol):
    """Records a run while it trains, and decides what depends on the records.

    Attributes:
      position: where the run starts or resumes.
      profiler: observes the calls of steps.
    """

    position: Position
    profiler: Profiler

    def should_stop_early(self) -> bool:
        """Whether too many epochs have passed without a better held-out ELBO."""

    def record_steps(self, step: int, *, num_examples: int, means: np.ndarray) -> None:
        """Records a call of steps.

        Args:
          step: number of steps done.
          num_examples: number of examples in the call.
          means: rate and distortion in nats, shape [2]: means over the epoch so far.
        """

    def record_epoch(
        self, position: Position, state: dict[str, np.ndarray], *, means: np.ndarray
    ) -> None:
        """Records the end of an epoch, and saves a checkpoint.

        Args:
          position: position after the epoch.
          state: training state by name.
          means: rate and distortion in nats, shape [2]: means over the epoch.
        """

    def needs_checkpoint(self, *, is_stopping: bool) -> bool:
        """Whether to save a checkpoint within the epoch.

        Args:
          is_stopping: whether the run is about to stop.
        """

    def save_checkpoint(self, position: Position, state: dict[str, np.ndarray]) -> None:
        """Saves a checkpoint of the training state at a position."""

    def last_saved_step(self) -> int | None:
        """The step of the newest checkpoint; None if there is none."""


class NoRecorder:
    """The recorder of the hosts other than the chief: it records nothing and decides nothing.

    These hosts take the chief's position and follow its decisions.
    """

    def __init__(self) -> None:
        self.position = Position.start()
        self.profiler: Profiler = NoProfiler()

    def should_stop_early(self) -> bool:
        """False: the chief decides."""
        return False

    def record_steps(self, step: int, *, num_examples: int, means: np.ndarray) -> None:
        """Does nothing."""

    def record_epoch(
        self, position: Position, state: dict[str, np.ndarray], *, means: np.ndarray
    ) -> None:
        """Does nothing."""

    def needs_checkpoint(self, *, is_stopping: bool) -> bool:
        """False: the chief saves."""
        del is_stopping
        return False

    def save_checkpoint(self, position: Position, state: dict[str, np.ndarray]) -> None:
        """Does nothing."""

    def last_saved_step(self) -> int | None:
        """None: this host has saved nothing."""
        return None
