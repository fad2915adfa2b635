import threading

import numpy as np
import pytest

from components.data.batches import Batches
from components.data.image_store import InMemoryImages

IMAGES = np.arange(23, dtype=np.uint8).reshape(23, 1, 1, 1)


def batches(seed: int = 0, batch_size: int = 5, images: np.ndarray = IMAGES, **options) -> Batches:
    return Batches(InMemoryImages(images, **options), batch_size=batch_size, seed=seed)


def test_every_example_is_met_once_an_epoch_the_partial_batch_included():
    for epoch in range(3):
        steps = range(epoch * 5, epoch * 5 + 5)
        rows = np.concatenate([batches().rows(step) for step in steps])
        assert sorted(rows) == list(range(23))
    assert len(batches().rows(4)) == 3


def test_the_order_is_a_function_of_seed_and_epoch_alone():
    order = [batches().rows(step).tolist() for step in range(10)]
    one = batches()
    assert [one.rows(step).tolist() for step in reversed(range(10))] == order[::-1]
    assert order[:5] != order[5:]
    assert [batches(seed=1).rows(step).tolist() for step in range(10)] != order


def test_the_batch_size_cuts_the_same_order_elsewhere():
    by_five = np.concatenate([batches().rows(step) for step in range(10)])
    by_eight = np.concatenate([batches(batch_size=8).rows(step) for step in range(6)])
    np.testing.assert_array_equal(by_five, by_eight)


@pytest.mark.parametrize("pad_to", [(4, 5), (7, 6)])
def test_a_chunk_stacks_batches_and_pads_them(pad_to):
    chunk = batches().chunk(2, 3, pad_to=pad_to)
    assert chunk.images.shape == (*pad_to, 1, 1, 1)
    assert chunk.counts.tolist() == [5, 5, 3] + [0] * (pad_to[0] - 3)
    for index in range(3):
        met = chunk.images[index, : chunk.counts[index], 0, 0, 0]
        np.testing.assert_array_equal(met, batches().rows(2 + index))


def test_num_met_counts_examples():
    assert [batches().num_seen(steps) for steps in (0, 1, 4, 5)] == [0, 5, 20, 23]


def whole(made: Batches, first: int, num_steps: int, pad_to: tuple[int, int]) -> np.ndarray:
    """The oracle of a chunk's images: row by row."""
    images = np.zeros((*pad_to, 1, 1, 1), np.uint8)
    for index in range(num_steps):
        for place, row in enumerate(made.rows(first + index)):
            images[index, place] = IMAGES[row]
    return images


@pytest.mark.parametrize("num_steps", [1, 2, 3, 5])
def test_chunks_asked_in_turn_are_those_asked_alone(num_steps):
    made, step = batches(), 0
    while step < 17:
        steps = min(num_steps, 5 - step % 5)
        chunk = made.chunk(step, steps, pad_to=(num_steps, 7))
        np.testing.assert_array_equal(chunk.images, whole(made, step, steps, (num_steps, 7)))
        step += steps


def test_chunks_can_be_asked_in_any_order_and_cross_epochs():
    made = batches()
    for first, steps in [(0, 3), (3, 2), (0, 3), (9, 3), (12, 1), (3, 7), (3, 7), (10, 7), (4, 1)]:
        chunk = made.chunk(first, steps, pad_to=(7, 5))
        np.testing.assert_array_equal(chunk.images, whole(made, first, steps, (7, 5)))
    # Of another shape, just when the next has been gathered.
    chunk = made.chunk(5, 1, pad_to=(1, 6))
    np.testing.assert_array_equal(chunk.images, whole(made, 5, 1, (1, 6)))


def test_padding_is_zeros_whatever_was_there_before():
    made = batches(images=np.full((23, 2, 2, 3), 9, np.uint8))
    for _ in range(4):
        made.chunk(0, 4, pad_to=(4, 6))
    chunk = made.chunk(3, 2, pad_to=(4, 6))
    assert chunk.counts.tolist() == [5, 3, 0, 0]
    for images, count in zip(chunk.images, chunk.counts, strict=True):
        assert (images[:count] == 9).all()
        assert not images[count:].any()


def test_a_chunk_stays_valid_while_the_next_one_is_used():
    made = batches()
    before = made.chunk(0, 1, pad_to=(1, 5))
    for step in range(1, 30):
        chunk = made.chunk(step, 1, pad_to=(1, 5))
        # It waits for what is gathered behind these two.
        made._ahead[1].result()
        np.testing.assert_array_equal(before.images, whole(made, step - 1, 1, (1, 5)))
        np.testing.assert_array_equal(chunk.images, whole(made, step, 1, (1, 5)))
        before = chunk


def test_the_memory_of_chunks_serves_again():
    made = batches()
    chunks = [made.chunk(step, 1, pad_to=(1, 5)).images for step in range(12)]
    assert len({images.ctypes.data for images in chunks}) == 3


@pytest.mark.parametrize("width", [5, 6, 8])
def test_columns_are_parts_of_the_padded_batches(width):
    for first in (0, 3, 4):
        every = batches().chunk(first, 1, pad_to=(2, width))
        parts = [
            batches().chunk(first, 1, pad_to=(2, width), columns=columns)
            for columns in (slice(0, 2), slice(2, 4), slice(4, width))
        ]
        together = np.concatenate([part.images for part in parts], axis=1)
        np.testing.assert_array_equal(together, every.images)
        for part in parts:
            assert part.counts.tolist() == every.counts.tolist()


def test_columns_follow_each_other_too():
    made, every = batches(), batches()
    for step in range(12):
        part = made.chunk(step, 1, pad_to=(1, 6), columns=slice(3, 6)).images
        np.testing.assert_array_equal(part, every.chunk(step, 1, pad_to=(1, 6)).images[:, 3:])


def test_one_example_is_every_batch():
    made = batches(images=IMAGES[7:8])
    assert (made.steps_per_epoch, made.num_examples) == (1, 1)
    for step in range(3):
        chunk = made.chunk(step, 1, pad_to=(1, 2))
        assert chunk.images.tolist() == [[[[[7]]], [[[0]]]]]
        assert chunk.counts.tolist() == [1]


def test_batches_may_be_larger_than_windows():
    made = batches(batch_size=20, block_bytes=2, window_blocks=2)
    for epoch in range(2):
        chunk = made.chunk(2 * epoch, 2, pad_to=(2, 20))
        assert chunk.counts.tolist() == [20, 3]
        met = np.concatenate([chunk.images[0], chunk.images[1, :3]]).ravel()
        assert sorted(met) == list(range(23))


def test_nothing_runs_after_closing():
    made = batches()
    made.chunk(0, 3, pad_to=(3, 5))
    name = {thread.name for thread in made._thread._threads}
    assert name & {thread.name for thread in threading.enumerate()}
    made.close()
    assert not any(thread.is_alive() for thread in made._thread._threads)
