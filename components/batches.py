"""Batches of examples as a pure function of the step.

The order of examples depends on (seed, epoch) alone, so a run that stops and goes on, or that uses
another number of replicas or of steps per call, sees the same batches.
"""

import dataclasses
import functools

import numpy as np


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Several consecutive batches, stacked for one call.

    Attributes:
      images: uint8, [steps, batch, height, width, channels]; rows past a count are padding.
      counts: int32, [steps]: how many examples each batch has; the last of an epoch may have fewer.
    """

    images: np.ndarray
    counts: np.ndarray


class Batches:
    """Shuffled batches of images held in memory, each example once per epoch.

    Args:
      images: uint8, [N, height, width, channels].
      batch_size: examples per global batch; an epoch's last one holds the rest.
      seed: of the shuffling.
    """

    def __init__(self, images: np.ndarray, *, batch_size: int, seed: int):
        self._images = images
        self._seed = seed
        self.num_examples = len(images)
        self.batch_size = batch_size
        self.steps_per_epoch = -(-len(images) // batch_size)

    def num_met(self, steps: int) -> int:
        """How many examples the first `steps` steps of an epoch hold."""
        return min(steps * self.batch_size, self.num_examples)

    @functools.lru_cache(maxsize=2)  # noqa: B019 - lives as long as the run
    def _order(self, epoch: int) -> np.ndarray:
        seed = np.random.SeedSequence([self._seed, epoch])
        return np.random.default_rng(seed).permutation(len(self._images))

    def rows(self, step: int) -> np.ndarray:
        """Indices of the examples of a step, counted from 0 over all epochs."""
        epoch, index = divmod(step, self.steps_per_epoch)
        first = index * self.batch_size
        return self._order(epoch)[first : first + self.batch_size]

    def chunk(self, first_step: int, num_steps: int, *, pad_to: tuple[int, int]) -> Chunk:
        """The batches of `num_steps` steps, padded to `pad_to` (steps, batch size).

        With a constant shape nothing is compiled twice, and every replica gets an equal part.
        """
        rows = np.zeros(pad_to, np.int64)
        counts = np.zeros(pad_to[0], np.int32)
        for index in range(num_steps):
            members = self.rows(first_step + index)
            rows[index, : len(members)] = members
            counts[index] = len(members)
        return Chunk(np.take(self._images, rows, axis=0), counts)
