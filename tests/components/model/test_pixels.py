import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from components.model.pixels import batch_size, forward_batch_size, part_of, to_unit

PIXELS = np.arange(256, dtype=np.uint8)


def test_intensities_are_the_nearest_float32_of_pixels_over_255():
    expected = (PIXELS.astype(np.float64) / 255).astype(np.float32)
    np.testing.assert_array_equal(to_unit(PIXELS), expected)
    assert to_unit(PIXELS).dtype == np.float32


def test_a_tensor_gives_a_tensor_of_the_same_values():
    intensities = to_unit(tf.constant(PIXELS))
    assert isinstance(intensities, tf.Tensor)
    assert intensities.dtype == tf.float32
    np.testing.assert_array_equal(intensities, to_unit(PIXELS))


@pytest.mark.parametrize("compiled", [False, True])
def test_a_tensor_in_a_graph_gives_the_same_values_except_for_the_last_bit(compiled):
    convert = tf.function(to_unit, autograph=False, jit_compile=compiled)
    np.testing.assert_array_max_ulp(convert(tf.constant(PIXELS)).numpy(), to_unit(PIXELS))


def test_arrays_need_no_tensorflow():
    code = (
        "import sys, numpy; from components.model.pixels import to_unit; "
        "to_unit(numpy.zeros(3, numpy.uint8)); print(*sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "tensorflow" not in result.stdout.split()


@pytest.mark.parametrize(
    ("shape", "size"),
    [((28, 28, 1), 1000), ((64, 64, 3), 1000), ((512, 512, 3), 16), ((4096, 4096, 1), 1)],
)
def test_large_images_have_small_batches(shape, size):
    assert batch_size(shape) == size


def test_a_part_of_labels_is_that_of_a_batch_and_none_has_none():
    assert part_of(np.arange(7), 3, 3).tolist() == [3, 4, 5]
    assert part_of(np.arange(7), 6, 3).tolist() == [6]
    assert part_of(None, 3, 3) is None


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((8, 8, 3), 500), ((28, 28, 1), 334), ((64, 64, 3), 64), ((1024, 1024, 3), 1)],
)
def test_the_batches_of_a_stream_are_bounded_by_their_pixels(shape, expected):
    assert forward_batch_size(shape) == expected
