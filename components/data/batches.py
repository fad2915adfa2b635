"""Batches of examples as a pure function of the step.

The order of examples depends on (seed, epoch) alone, so a run that stops and goes on, or that uses
another number of replicas or of steps per call, sees the same batches.
"""

import concurrent.futures
import dataclasses
from typing import NamedTuple

import numpy as np

from components.base.shapes import Shape
from components.data.image_store import ImageStore
from components.data.shuffle import ShuffleOrder


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Several consecutive batches, stacked for one call.

    Attributes:
      images: uint8, [steps, batch, height, width, channels]; rows past a count are zeros.
      counts: int32, [steps]: how many examples each batch has; the last of an epoch may have fewer.
    """

    images: np.ndarray
    counts: np.ndarray


class _ChunkRequest(NamedTuple):
    """What `Batches.chunk` is asked for."""

    first_step: int
    num_steps: int
    pad_to: tuple[int, int]
    columns: slice


class Batches:
    """Shuffled batches of images, each example once per epoch.

    Args:
      store: where the images are.
      batch_size: examples per global batch; an epoch's last one holds the rest.
      seed: of the shuffling.
    """

    def __init__(self, store: ImageStore, *, batch_size: int, seed: int):
        self._store = store
        self._order = ShuffleOrder(store.layout, seed)
        self.num_examples = store.layout.num_examples
        self.batch_size = batch_size
        self.steps_per_epoch = -(-self.num_examples // batch_size)
        # One thread gathers all chunks, so that no two are at the store at a time.
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._ahead: tuple[_ChunkRequest, concurrent.futures.Future[Chunk]] | None = None
        # The next to be written first; the last two are in the caller's hands.
        self._buffers = [np.empty(0, np.uint8)] * 3

    @property
    def image_shape(self) -> Shape:
        """(height, width, channels) of every image."""
        return self._store.image_shape

    @property
    def is_in_memory(self) -> bool:
        """Whether all examples lie in memory."""
        return self._store.is_in_memory

    def num_seen(self, steps: int) -> int:
        """How many examples the first `steps` steps of an epoch hold."""
        return min(steps * self.batch_size, self.num_examples)

    def rows(self, step: int) -> np.ndarray:
        """The examples of a step, by their index in the order of the shards.

        Steps are counted from 0 over all epochs.
        """
        epoch, index = divmod(step, self.steps_per_epoch)
        return self._order.rows(epoch, self.num_seen(index), self.num_seen(index + 1))

    def chunk(
        self,
        first_step: int,
        num_steps: int,
        *,
        pad_to: tuple[int, int],
        columns: slice = slice(None),
    ) -> Chunk:
        """The batches of `num_steps` steps, padded to `pad_to` (steps, batch size).

        With a constant shape nothing is compiled twice, and every replica gets an equal part. What
        most likely comes next, as many steps as there is room for up to the epoch's end, is
        gathered in the background; to ask for something else is right too, but slower.

        The arrays serve again: a chunk is valid until the next call but one.

        Args:
          first_step: counted from 0 over all epochs.
          num_steps: at most pad_to[0].
          pad_to: steps and examples per batch of the images.
          columns: the part of each padded batch that is wanted, side by side; the counts are those
            of the whole batches all the same.

        Raises:
          WorkError: a shard is damaged; names the file and the record.
        """
        request = _ChunkRequest(first_step, num_steps, pad_to, columns)
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] == request:
            coming = ahead[1]
        else:
            coming = self._thread.submit(self._gather, request)
        chunk = coming.result()
        self._buffers.append(self._buffers.pop(0))
        first_step += num_steps
        left = self.steps_per_epoch - first_step % self.steps_per_epoch
        following = request._replace(first_step=first_step, num_steps=min(pad_to[0], left))
        self._ahead = following, self._thread.submit(self._gather, following)
        return chunk

    def close(self) -> None:
        """Ends what runs in the background; no chunk is to be asked for any more."""
        self._store.close()
        self._thread.shutdown(cancel_futures=True)

    def _gather(self, request: _ChunkRequest) -> Chunk:
        steps, width = request.pad_to
        left, right, _ = request.columns.indices(width)
        shape = (steps, right - left, *self._store.image_shape)
        if self._buffers[0].shape != shape:
            self._buffers[0] = np.empty(shape, np.uint8)
        images, counts = self._buffers[0], np.zeros(steps, np.int32)
        for index in range(request.num_steps):
            epoch, step = divmod(request.first_step + index, self.steps_per_epoch)
            first = self.num_seen(step)
            counts[index] = self.num_seen(step + 1) - first
            wanted = max(0, min(right, int(counts[index])) - left)
            self._store.fill(images[index, :wanted], self._order, epoch, first + left)
            images[index, wanted:] = 0
        images[request.num_steps :] = 0
        return Chunk(images, counts)
