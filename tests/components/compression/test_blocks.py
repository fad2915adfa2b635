import numpy as np

from components.compression.blocks import LabeledImages, batch_sizes, divide, num_lanes


def test_batches_grow_and_hold_all_images():
    assert batch_sizes(0, (28, 28, 1)) == []
    assert batch_sizes(1, (28, 28, 1)) == [1]
    assert batch_sizes(16, (28, 28, 1)) == [16]
    assert batch_sizes(17, (28, 28, 1)) == [16, 1]
    assert batch_sizes(700, (28, 28, 1)) == [16, 64, 256, 364]
    assert batch_sizes(2500, (28, 28, 1)) == [16, 64, 256, 432, 433, 433, 433, 433]
    assert num_lanes(700, (28, 28, 1)) == 364
    assert num_lanes(0, (28, 28, 1)) == 0


def test_batches_of_large_images_are_small():
    assert max(batch_sizes(500, (256, 256, 3))) == 8
    assert max(batch_sizes(5, (4000, 4000, 3))) == 1


def test_blocks_hold_all_images_and_labels_in_order():
    batches = [
        LabeledImages(np.arange(first, last), -np.arange(first, last))
        for first, last in ((0, 3), (3, 10), (10, 10), (10, 11))
    ]
    found = list(divide(iter(batches), 4))
    assert [block.images.tolist() for block in found] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    assert all((block.labels == -block.images).all() for block in found)
    assert list(divide(iter([]), 4)) == []
