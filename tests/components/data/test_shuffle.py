import collections
import itertools

import numpy as np
import pytest

from components.data.shuffle import BlockLayout, ShuffleOrder

LENGTHS = [7, 1, 12, 4, 9]


def layout(lengths=LENGTHS, *, block=3, window=2) -> BlockLayout:
    return BlockLayout(lengths, image_bytes=10, block_bytes=10 * block + 9, window_blocks=window)


def epoch_of(order: ShuffleOrder, epoch: int) -> list[int]:
    return order.rows(epoch, 0, order.layout.num_examples).tolist()


def members(made: BlockLayout) -> list[list[int]]:
    """The examples of each block."""
    return [
        list(range(first, first + size))
        for first, size in zip(made.firsts, made.sizes, strict=True)
    ]


def test_shards_are_cut_into_blocks_that_cross_no_shard():
    made = layout()
    blocks = [[0, 1, 2], [3, 4, 5], [6]]
    blocks += [[7]]
    blocks += [[8, 9, 10], [11, 12, 13], [14, 15, 16], [17, 18, 19]]
    blocks += [[20, 21, 22], [23]]
    blocks += [[24, 25, 26], [27, 28, 29], [30, 31, 32]]
    assert members(made) == blocks
    assert made.shards.tolist() == [0, 0, 0, 1, 2, 2, 2, 2, 3, 3, 4, 4, 4]
    assert made.numbers.tolist() == [0, 1, 2, 0, 0, 1, 2, 3, 0, 1, 0, 1, 2]
    assert (made.num_examples, made.block_examples, made.largest_window) == (33, 3, 6)


def test_an_image_larger_than_a_block_is_a_block():
    made = BlockLayout([2, 1], image_bytes=1 << 21)
    assert made.block_examples == 1
    assert members(made) == [[0], [1], [2]]
    assert made.largest_window == 3


def test_a_shard_of_nothing_has_no_block():
    assert members(layout([0, 2, 0])) == [[0, 1]]


@pytest.mark.parametrize("block", [1, 3, 100])
@pytest.mark.parametrize("window", [1, 2, 64])
def test_every_example_is_met_once_an_epoch(block, window):
    order = ShuffleOrder(layout(block=block, window=window), seed=0)
    for epoch in range(3):
        assert sorted(epoch_of(order, epoch)) == list(range(33))


def test_a_window_is_some_whole_blocks_shuffled_together():
    made = layout()
    order = ShuffleOrder(made, seed=3)
    met = epoch_of(order, 1)
    blocks = members(made)
    left, place = list(range(len(blocks))), 0
    while left:
        window = order.window_at(1, place)
        assert (window.first, len(window.blocks)) == (place, min(2, len(left)))
        whole = list(itertools.chain.from_iterable(blocks[block] for block in window.blocks))
        assert [whole[index] for index in window.order] == met[place : place + len(window)]
        assert sorted(whole) == sorted(met[place : place + len(window)])
        assert order.window_at(1, place + len(window) - 1).is_same(window)
        left = [block for block in left if block not in window.blocks]
        place += len(window)
    assert place == 33


def test_windows_follow_each_other_across_epochs():
    order = ShuffleOrder(layout(), seed=0)
    window = order.window_at(0, 0)
    place = 0
    for epoch in range(3):
        for number in range(7):
            assert (window.epoch, window.number) == (epoch, number)
            assert epoch * 33 + window.first == place
            place += len(window)
            window = order.after(window)


def test_the_order_is_a_function_of_seed_and_epoch_alone():
    orders = {(seed, epoch): epoch_of(ShuffleOrder(layout(), seed), epoch) for seed, epoch in
              itertools.product(range(3), range(3))}  # fmt: skip
    assert len(set(map(tuple, orders.values()))) == 9
    again = ShuffleOrder(layout(), seed=1)
    for epoch in (2, 0, 1, 2):
        assert epoch_of(again, epoch) == orders[1, epoch]
        parts = [again.rows(epoch, start, min(start + 5, 33)) for start in range(0, 33, 5)]
        assert np.concatenate(parts).tolist() == orders[1, epoch]


def test_blocks_come_in_another_order_each_epoch():
    order = ShuffleOrder(layout(window=1, block=1), seed=0)
    assert epoch_of(order, 0) != epoch_of(order, 1)
    assert epoch_of(order, 0) != sorted(epoch_of(order, 0))


def test_one_window_has_all_orders_equally_often():
    order = ShuffleOrder(layout([3, 1], block=2, window=64), seed=0)
    num_epochs = 4800
    counts = collections.Counter(tuple(epoch_of(order, epoch)) for epoch in range(num_epochs))
    assert len(counts) == 24
    expected = num_epochs / 24
    chi_squared = sum((count - expected) ** 2 / expected for count in counts.values())
    # 23 degrees of freedom: more in 1 of 1,000 seeds, and less.
    assert 7 < chi_squared < 50


def test_with_many_windows_every_example_comes_everywhere():
    order = ShuffleOrder(layout([40], block=2, window=3), seed=0)
    places = np.array([np.argsort(epoch_of(order, epoch)) for epoch in range(2000)])
    # The mean place of an example: 19.5, with a standard error of 11.5 / sqrt(2000) = 0.26.
    np.testing.assert_allclose(places.mean(axis=0), 19.5, atol=4 * 0.26)
