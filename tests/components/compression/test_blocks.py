from components.compression.blocks import batch_sizes, num_lanes


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
