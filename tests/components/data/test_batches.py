import threading

import numpy as np
import pytest

from components.data.batches import Batches
from components.data.image_store import InMemoryImages

IMAGES = np.arange(23, dtype=np.uint8).reshape(23, 1, 1, 1)


def make_batches(
    seed: int = 0, batch_size: int = 5, images: np.ndarray = IMAGES, **options
) -> Batches:
    return Batches(InMemoryImages(images, **options), batch_size=batch_size, seed=seed)


def test_every_example_occurs_once_per_epoch_with_a_partial_last_batch():
    batches = make_batches()
    for epoch in range(3):
        steps = range(epoch * 5, epoch * 5 + 5)
        assert sorted(np.concatenate([batches.rows(step) for step in steps])) == list(range(23))
    assert len(batches.rows(4)) == 3


def test_the_order_depends_only_on_seed_and_epoch():
    order = [make_batches().rows(step).tolist() for step in range(10)]
    batches = make_batches()
    assert [batches.rows(step).tolist() for step in reversed(range(10))] == order[::-1]
    assert order[:5] != order[5:]
    assert [make_batches(seed=1).rows(step).tolist() for step in range(10)] != order


def test_the_batch_size_does_not_change_the_order():
    by_five = np.concatenate([make_batches().rows(step) for step in range(10)])
    by_eight = np.concatenate([make_batches(batch_size=8).rows(step) for step in range(6)])
    np.testing.assert_array_equal(by_five, by_eight)


@pytest.mark.parametrize("pad_to", [(4, 5), (7, 6)])
def test_a_chunk_stacks_and_pads_batches(pad_to):
    batches = make_batches()
    chunk = batches.chunk(2, 3, pad_to=pad_to)
    assert chunk.images.shape == (*pad_to, 1, 1, 1)
    assert chunk.counts.tolist() == [5, 5, 3] + [0] * (pad_to[0] - 3)
    for index in range(3):
        values = chunk.images[index, : chunk.counts[index], 0, 0, 0]
        np.testing.assert_array_equal(values, batches.rows(2 + index))


def test_num_seen_counts_the_examples_of_the_first_steps():
    assert [make_batches().num_seen(steps) for steps in (0, 1, 4, 5)] == [0, 5, 20, 23]


def expected_images(
    batches: Batches, first_step: int, num_steps: int, pad_to: tuple[int, int]
) -> np.ndarray:
    """The oracle for the images of a chunk: copied example by example."""
    images = np.zeros((*pad_to, 1, 1, 1), np.uint8)
    for index in range(num_steps):
        for column, row in enumerate(batches.rows(first_step + index)):
            images[index, column] = IMAGES[row]
    return images


@pytest.mark.parametrize("num_steps", [1, 2, 3, 5])
def test_consecutive_chunks_are_right(num_steps):
    batches, step = make_batches(), 0
    while step < 17:
        steps = min(num_steps, 5 - step % 5)
        chunk = batches.chunk(step, steps, pad_to=(num_steps, 7))
        expected = expected_images(batches, step, steps, (num_steps, 7))
        np.testing.assert_array_equal(chunk.images, expected)
        step += steps


def test_chunks_can_be_requested_in_any_order_and_span_epochs():
    batches = make_batches()
    for first, steps in [(0, 3), (3, 2), (0, 3), (9, 3), (12, 1), (3, 7), (3, 7), (10, 7), (4, 1)]:
        chunk = batches.chunk(first, steps, pad_to=(7, 5))
        np.testing.assert_array_equal(chunk.images, expected_images(batches, first, steps, (7, 5)))
    # Another shape than that of the chunk that was prefetched.
    chunk = batches.chunk(5, 1, pad_to=(1, 6))
    np.testing.assert_array_equal(chunk.images, expected_images(batches, 5, 1, (1, 6)))


def test_padding_is_zero_in_reused_memory():
    batches = make_batches(images=np.full((23, 2, 2, 3), 9, np.uint8))
    for _ in range(4):
        batches.chunk(0, 4, pad_to=(4, 6))
    chunk = batches.chunk(3, 2, pad_to=(4, 6))
    assert chunk.counts.tolist() == [5, 3, 0, 0]
    for images, count in zip(chunk.images, chunk.counts, strict=True):
        assert (images[:count] == 9).all()
        assert not images[count:].any()


def test_a_chunk_stays_valid_until_the_second_call_after_its_own():
    batches = make_batches()
    previous = batches.chunk(0, 1, pad_to=(1, 5))
    for step in range(1, 30):
        chunk = batches.chunk(step, 1, pad_to=(1, 5))
        # Wait for the chunk that is prefetched meanwhile.
        batches._prefetched[1].result()
        for images, at in ((previous.images, step - 1), (chunk.images, step)):
            np.testing.assert_array_equal(images, expected_images(batches, at, 1, (1, 5)))
        previous = chunk


def test_the_memory_of_chunks_is_reused():
    batches = make_batches()
    chunks = [batches.chunk(step, 1, pad_to=(1, 5)).images for step in range(12)]
    assert len({images.ctypes.data for images in chunks}) == 3


@pytest.mark.parametrize("padded_size", [5, 6, 8])
def test_columns_select_a_part_of_each_padded_batch(padded_size):
    for first in (0, 3, 4):
        complete = make_batches().chunk(first, 1, pad_to=(2, padded_size))
        parts = [
            make_batches().chunk(first, 1, pad_to=(2, padded_size), columns=columns)
            for columns in (slice(0, 2), slice(2, 4), slice(4, padded_size))
        ]
        joined = np.concatenate([part.images for part in parts], axis=1)
        np.testing.assert_array_equal(joined, complete.images)
        for part in parts:
            assert part.counts.tolist() == complete.counts.tolist()


def test_consecutive_chunks_of_columns_are_right():
    of_columns, complete = make_batches(), make_batches()
    for step in range(12):
        part = of_columns.chunk(step, 1, pad_to=(1, 6), columns=slice(3, 6)).images
        expected = complete.chunk(step, 1, pad_to=(1, 6)).images[:, 3:]
        np.testing.assert_array_equal(part, expected)


def test_a_dataset_may_have_a_single_example():
    batches = make_batches(images=IMAGES[7:8])
    assert (batches.steps_per_epoch, batches.num_examples) == (1, 1)
    for step in range(3):
        chunk = batches.chunk(step, 1, pad_to=(1, 2))
        assert chunk.images.tolist() == [[[[[7]]], [[[0]]]]]
        assert chunk.counts.tolist() == [1]


def test_a_batch_may_be_larger_than_a_window():
    batches = make_batches(batch_size=20, block_bytes=2, window_blocks=2)
    for epoch in range(2):
        chunk = batches.chunk(2 * epoch, 2, pad_to=(2, 20))
        assert chunk.counts.tolist() == [20, 3]
        values = np.concatenate([chunk.images[0], chunk.images[1, :3]]).ravel()
        assert sorted(values) == list(range(23))


def test_closing_stops_the_thread():
    batches = make_batches()
    batches.chunk(0, 3, pad_to=(3, 5))
    (thread,) = batches._thread._threads
    assert thread in threading.enumerate()
    batches.close()
    assert not thread.is_alive()


LABELS = np.random.default_rng(0).integers(1, 1000, 23).astype(np.int32)


def test_labels_are_those_of_the_images_and_padding_is_0():
    batches = Batches(InMemoryImages(IMAGES), batch_size=5, seed=0, labels=LABELS)
    for first, steps in [(0, 3), (3, 2), (5, 3), (3, 5), (9, 3)]:
        chunk = batches.chunk(first, steps, pad_to=(6, 7))
        assert (chunk.labels.dtype, chunk.labels.shape) == (np.int32, (6, 7))
        is_example = np.arange(7) < chunk.counts[:, np.newaxis]
        of_images = LABELS[chunk.images[..., 0, 0, 0]]
        np.testing.assert_array_equal(chunk.labels, np.where(is_example, of_images, 0))


@pytest.mark.parametrize("first", [0, 4])
def test_labels_of_columns_are_those_of_their_images(first):
    whole, left, right = (
        Batches(InMemoryImages(IMAGES), batch_size=5, seed=0, labels=LABELS)
        .chunk(first, 1, pad_to=(1, 6), columns=columns)
        .labels
        for columns in (slice(None), slice(0, 3), slice(3, 6))
    )
    assert whole.any()
    np.testing.assert_array_equal(np.concatenate([left, right], axis=1), whole)


def test_batches_without_labels_have_none():
    assert make_batches().chunk(0, 1, pad_to=(1, 5)).labels is None
