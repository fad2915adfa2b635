"""Training batches as a pure function of the step.

The order of the examples depends only on (seed, epoch). A run that stops and resumes, or that uses
another number of replicas or of steps per call, therefore trains on the same batches.
"""

import concurrent.futures
import dataclasses
from typing import NamedTuple

import numpy as np

from components.base.arithmetic import ceil_div
from components.base.shapes import Shape
from components.data.image_store import ImageStore
from components.data.shuffle import ShuffleOrder


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Consecutive batches, stacked for one call of the training loop.

    Attributes:
      images: uint8 [steps, batch, height, width, channels]; zeros beyond the counts.
      counts: int32 [steps], the number of examples in each batch. The last batch of an epoch may
        have fewer than the others, and a padded step has none.
      labels: int32 [steps, batch]; zeros beyond the counts. None if the batches have no labels.
    """

    images: np.ndarray
    counts: np.ndarray
    labels: np.ndarray | None = None


class _ChunkRequest(NamedTuple):
    """The arguments of `Batches.chunk`."""

    first_step: int
    num_steps: int
    pad_to: tuple[int, int]
    columns: slice


class Batches:
    """Shuffled batches of images, in which each example occurs once per epoch.

    Args:
      store: the images.
      batch_size: number of examples in a global batch; the last batch of an epoch has the rest.
      seed: seed of the shuffle.
      labels: int32 [examples], numbered as the rows; None for batches without labels. They are in
        memory even if the images are streamed, since a label has only 4 bytes.

    Attributes:
      num_examples: number of examples in an epoch.
      batch_size: number of examples in a global batch.
      steps_per_epoch: number of batches in an epoch.
    """

    def __init__(
        self, store: ImageStore, *, batch_size: int, seed: int, labels: np.ndarray | None = None
    ):
        self._store = store
        self._labels = labels
        self._order = ShuffleOrder(store.layout, seed)
        self.num_examples = store.layout.num_examples
        self.batch_size = batch_size
        self.steps_per_epoch = ceil_div(self.num_examples, batch_size)
        # A single thread gathers all chunks, because a store is not safe to use from several.
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._prefetched: tuple[_ChunkRequest, concurrent.futures.Future[Chunk]] | None = None
        # Three buffers; the first is overwritten next. The caller may still use the last two.
        self._buffers = [np.empty(0, np.uint8)] * 3

    @property
    def image_shape(self) -> Shape:
        """(height, width, channels) of every image."""
        return self._store.image_shape

    @property
    def is_in_memory(self) -> bool:
        """Whether all images are in memory."""
        return self._store.is_in_memory

    def num_seen(self, steps: int) -> int:
        """The number of examples in the first `steps` batches of an epoch."""
        return min(steps * self.batch_size, self.num_examples)

    def rows(self, step: int) -> np.ndarray:
        """The examples in the batch of a step, int64 [examples], numbered over all shards.

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
        """Returns the batches of `num_steps` steps, padded to a constant shape.

        With a constant shape, TensorFlow compiles the training step once and every replica gets an
        equal part. The most likely next chunk is prefetched in the background: up to `pad_to[0]`
        further steps, without crossing the end of the epoch. Other requests are valid but slower.

        The arrays are reused: a chunk is valid until `chunk` has been called twice more.

        Args:
          first_step: the first step, counted from 0 over all epochs.
          num_steps: number of steps, at most pad_to[0].
          pad_to: (steps, examples per batch) of the padded images.
          columns: the examples to return of each padded batch. The counts are always those of the
            complete batches.

        Raises:
          WorkError: a shard is damaged; the message names the file and the record.
        """
        request = _ChunkRequest(first_step, num_steps, pad_to, columns)
        prefetched, self._prefetched = self._prefetched, None
        if prefetched is not None and prefetched[0] == request:
            gathering = prefetched[1]
        else:
            gathering = self._thread.submit(self._gather, request)
        chunk = gathering.result()
        self._buffers.append(self._buffers.pop(0))
        next_step = first_step + num_steps
        steps_left = self.steps_per_epoch - next_step % self.steps_per_epoch
        following = request._replace(first_step=next_step, num_steps=min(pad_to[0], steps_left))
        self._prefetched = following, self._thread.submit(self._gather, following)
        return chunk

    def close(self) -> None:
        """Stops the background threads; no chunk can be requested afterwards."""
        self._store.close()
        self._thread.shutdown(cancel_futures=True)

    def _gather(self, request: _ChunkRequest) -> Chunk:
        """Copies the images of a request into the next buffer, and collects the labels."""
        steps, padded_size = request.pad_to
        left, right, _ = request.columns.indices(padded_size)
        shape = (steps, right - left, *self._store.image_shape)
        if self._buffers[0].shape != shape:
            self._buffers[0] = np.empty(shape, np.uint8)
        images, counts = self._buffers[0], np.zeros(steps, np.int32)
        labels = np.zeros((steps, right - left), np.int32)
        for index in range(request.num_steps):
            epoch, step = divmod(request.first_step + index, self.steps_per_epoch)
            start = self.num_seen(step)
            counts[index] = self.num_seen(step + 1) - start
            # The columns that hold examples; the rest are padding.
            num_filled = max(0, min(right, int(counts[index])) - left)
            self._store.fill(images[index, :num_filled], self._order, epoch, start + left)
            images[index, num_filled:] = 0
            if self._labels is not None:
                rows = self._order.rows(epoch, start + left, start + left + num_filled)
                labels[index, :num_filled] = self._labels[rows]
        images[request.num_steps :] = 0
        return Chunk(images, counts, None if self._labels is None else labels)
