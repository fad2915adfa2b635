import numpy as np
import pytest

from components.batches import Batches

IMAGES = np.arange(23, dtype=np.uint8).reshape(23, 1, 1, 1)


def batches(seed: int = 0, batch_size: int = 5) -> Batches:
    return Batches(IMAGES, batch_size=batch_size, seed=seed)


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


@pytest.mark.parametrize("pad_to", [(4, 5), (7, 6)])
def test_a_chunk_stacks_batches_and_pads_them(pad_to):
    chunk = batches().chunk(2, 3, pad_to=pad_to)
    assert chunk.images.shape == (*pad_to, 1, 1, 1)
    assert chunk.counts.tolist() == [5, 5, 3] + [0] * (pad_to[0] - 3)
    for index in range(3):
        met = chunk.images[index, : chunk.counts[index], 0, 0, 0]
        np.testing.assert_array_equal(met, batches().rows(2 + index))


def test_num_met_counts_examples():
    assert [batches().num_met(steps) for steps in (0, 1, 4, 5)] == [0, 5, 20, 23]
