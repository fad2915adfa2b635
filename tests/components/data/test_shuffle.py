import collections
import itertools
import re

import numpy as np
import pytest

from components.data import shuffle
from components.data.shuffle import BlockLayout, ShuffleOrder

LENGTHS = [7, 1, 12, 4, 9]


def layout(lengths=LENGTHS, *, block=3, window=2) -> BlockLayout:
    """A layout with `block` examples per block and `window` blocks per window."""
    return BlockLayout(lengths, image_bytes=10, block_bytes=10 * block + 9, window_blocks=window)


def epoch_order(order: ShuffleOrder, epoch: int) -> list[int]:
    return order.rows(epoch, 0, order.layout.num_examples).tolist()


def block_examples(blocks: BlockLayout) -> list[list[int]]:
    """The examples of each block."""
    return [
        list(range(start, start + size))
        for start, size in zip(blocks.starts, blocks.sizes, strict=True)
    ]


def test_shards_are_divided_into_blocks_and_no_block_spans_two_shards():
    blocks = layout()
    assert block_examples(blocks) == [
        *([0, 1, 2], [3, 4, 5], [6]),
        *([7],),
        *([8, 9, 10], [11, 12, 13], [14, 15, 16], [17, 18, 19]),
        *([20, 21, 22], [23]),
        *([24, 25, 26], [27, 28, 29], [30, 31, 32]),
    ]
    assert blocks.shards.tolist() == [0, 0, 0, 1, 2, 2, 2, 2, 3, 3, 4, 4, 4]
    assert blocks.numbers.tolist() == [0, 1, 2, 0, 0, 1, 2, 3, 0, 1, 0, 1, 2]
    assert (blocks.num_examples, blocks.block_examples, blocks.max_window_examples) == (33, 3, 6)


def test_an_image_larger_than_a_block_is_a_block_by_itself():
    blocks = BlockLayout([2, 1], image_bytes=1 << 21)
    assert blocks.block_examples == 1
    assert block_examples(blocks) == [[0], [1], [2]]
    assert blocks.max_window_examples == 3


def test_an_empty_shard_has_no_blocks():
    assert block_examples(layout([0, 2, 0])) == [[0, 1]]


@pytest.mark.parametrize("block", [1, 3, 100])
@pytest.mark.parametrize("window", [1, 2, 64])
def test_every_example_occurs_once_per_epoch(block, window):
    order = ShuffleOrder(layout(block=block, window=window), seed=0)
    for epoch in range(3):
        assert sorted(epoch_order(order, epoch)) == list(range(33))


def test_a_window_shuffles_the_examples_of_its_blocks():
    blocks = layout()
    order = ShuffleOrder(blocks, seed=3)
    epoch = epoch_order(order, 1)
    examples_of = block_examples(blocks)
    remaining, position = list(range(len(examples_of))), 0
    while remaining:
        window = order.window_at(1, position)
        assert (window.start, len(window.blocks)) == (position, min(2, len(remaining)))
        examples = list(itertools.chain.from_iterable(examples_of[b] for b in window.blocks))
        stop = position + len(window)
        assert [examples[index] for index in window.order] == epoch[position:stop]
        assert sorted(examples) == sorted(epoch[position:stop])
        assert order.window_at(1, stop - 1).is_same(window)
        remaining = [block for block in remaining if block not in window.blocks]
        position = stop
    assert position == 33


def test_the_last_window_of_an_epoch_is_followed_by_the_first_of_the_next():
    order = ShuffleOrder(layout(), seed=0)
    window = order.window_at(0, 0)
    position = 0
    for epoch in range(3):
        for number in range(7):
            assert (window.epoch, window.number) == (epoch, number)
            assert epoch * 33 + window.start == position
            position += len(window)
            window = order.next_window(window)


def test_the_order_depends_only_on_seed_and_epoch():
    orders = {
        (seed, epoch): epoch_order(ShuffleOrder(layout(), seed), epoch)
        for seed, epoch in itertools.product(range(3), range(3))
    }
    assert len(set(map(tuple, orders.values()))) == 9
    order = ShuffleOrder(layout(), seed=1)
    for epoch in (2, 0, 1, 2):
        assert epoch_order(order, epoch) == orders[1, epoch]
        parts = [order.rows(epoch, start, min(start + 5, 33)) for start in range(0, 33, 5)]
        assert np.concatenate(parts).tolist() == orders[1, epoch]


def test_blocks_are_shuffled_in_every_epoch():
    order = ShuffleOrder(layout(window=1, block=1), seed=0)
    assert epoch_order(order, 0) != epoch_order(order, 1)
    assert epoch_order(order, 0) != sorted(epoch_order(order, 0))


def test_within_one_window_all_orders_are_equally_likely():
    order = ShuffleOrder(layout([3, 1], block=2, window=64), seed=0)
    num_epochs = 4800
    counts = collections.Counter(tuple(epoch_order(order, epoch)) for epoch in range(num_epochs))
    assert len(counts) == 24
    expected = num_epochs / 24
    chi_squared = sum((count - expected) ** 2 / expected for count in counts.values())
    # With 23 degrees of freedom, about 1 seed in 1,000 is above 50, and 1 in 1,000 below 7.
    assert 7 < chi_squared < 50


def test_with_many_windows_every_example_occurs_at_every_position():
    order = ShuffleOrder(layout([40], block=2, window=3), seed=0)
    positions = np.array([np.argsort(epoch_order(order, epoch)) for epoch in range(2000)])
    # The mean position of an example: 19.5, with a standard error of 11.5 / sqrt(2000) = 0.26.
    np.testing.assert_allclose(positions.mean(axis=0), 19.5, atol=4 * 0.26)


def documented(label: str, pattern: str) -> list[list[int]]:
    """The groups of numbers in a line of the example in the module's docstring."""
    (line,) = re.findall(rf"^    {label} +(\S.*)$", shuffle.__doc__, re.MULTILINE)
    return [list(map(int, group.split())) for group in re.findall(pattern, line)]


def test_the_example_in_the_docstring_is_right():
    blocks = BlockLayout([5, 4], image_bytes=1, block_bytes=2, window_blocks=2)
    order = ShuffleOrder(blocks, seed=2)
    windows = [order.window(0, number) for number in range(3)]
    examples_of = block_examples(blocks)
    assert documented("blocks", r"\[([\d ]+)\]") == examples_of
    shuffled = [examples_of[block] for window in windows for block in window.blocks]
    assert documented("shuffled blocks", r"\[([\d ]+)\]") == shuffled
    assert documented("windows", r"\[([\d ]+)\]") == shuffled
    assert documented("order", r"[\d ]+") == [
        order.rows(0, window.start, window.start + len(window)).tolist() for window in windows
    ]
