import subprocess
import sys

import numpy as np
import pytest

from components.base.errors import ConfigError
from components.sources.layout import AxisLayout, check_unambiguous

IMAGES = np.arange(6 * 4 * 5 * 3).reshape(6, 4, 5, 3)  # N, H, W, C
GRAY = IMAGES[..., 0]


@pytest.mark.parametrize(
    ("text", "stored", "expected"),
    [
        ("NHWC", IMAGES, IMAGES),
        ("NCHW", np.moveaxis(IMAGES, 3, 1), IMAGES),
        ("HWCN", np.moveaxis(IMAGES, 0, 3), IMAGES),
        ("CHWN", IMAGES.transpose(3, 1, 2, 0), IMAGES),
        ("NWHC", IMAGES.transpose(0, 2, 1, 3), IMAGES),
        ("NHW", GRAY, GRAY),
        ("HWN", np.moveaxis(GRAY, 0, 2), GRAY),
        ("NWH", GRAY.transpose(0, 2, 1), GRAY),
        ("HWC", IMAGES[2], IMAGES[2:3]),
        ("CHW", np.moveaxis(IMAGES[2], 2, 0), IMAGES[2:3]),
        ("HW", GRAY[2], GRAY[2:3]),
        ("N4x5", GRAY.reshape(6, -1), GRAY),
        ("N4x5x3", IMAGES.reshape(6, -1), IMAGES),
        ("N3x4x5", np.moveaxis(IMAGES, 3, 1).reshape(6, -1), IMAGES),
    ],
)
def test_an_array_is_arranged_and_its_shape_is_predicted(text, stored, expected):
    layout = AxisLayout.parse(text)
    assert layout.as_text() == text
    np.testing.assert_array_equal(layout.arrange(stored), expected)
    assert layout.shape_after("x", stored.shape) == expected.shape
    assert layout.is_by_image == text.startswith("N")


@pytest.mark.parametrize(
    "text", ["N", "nhw", "NHH", "NHWCC", "28x28", "N28", "N0x28", "N3x32x3", "N9x32x32", "NHW "]
)
def test_text_of_another_form_is_refused_in_one_line(text):
    with pytest.raises(ConfigError, match="such as HWN, NCHW") as caught:
        AxisLayout.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "shape"), [("NCHW", (9, 8, 7)), ("HWN", (9, 81)), ("N28x28", (9, 783)), ("NHW", (9,))]
)
def test_a_layout_that_does_not_fit_is_refused(text, shape):
    with pytest.raises(ConfigError, match=f"x has shape .*, which --layout {text} does not fit"):
        AxisLayout.parse(text).shape_after("x", shape)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((28, 28, 200), ["NHW", "HWN"]),
        ((64, 96, 5000), ["NHW", "HWN"]),
        ((32, 48, 3), ["NHW", "HWC"]),
        ((32, 48, 4), ["NHW", "HWC"]),
        ((32, 48, 1), ["NHW", "HWC"]),
        ((32, 32, 3), ["NHW", "HWC"]),
        ((32, 32, 2), ["NHW", "HWN"]),
        ((3, 32, 48), ["NHW", "CHW"]),
        ((4, 32, 32), ["NHW", "CHW"]),
        ((100, 3, 32, 48), ["NCHW"]),
        ((100, 1, 28, 28), ["NCHW"]),
        ((32, 32, 3, 100), ["HWCN"]),
        ((3, 32, 32, 100), ["CHWN"]),
        ((32, 32, 3, 4), ["NHWC", "HWCN"]),
        ((100, 784), ["N28x28"]),
        ((100, 3072), ["N32x32x3", "N3x32x32"]),
    ],
)
def test_an_array_that_can_be_read_otherwise_is_refused_with_its_layouts(shape, options):
    with pytest.raises(ConfigError) as caught:
        check_unambiguous({"train": ("a.npz: x", shape)}, {})
    message = str(caught.value)
    assert message.startswith(f"a.npz: x has shape {shape}, ")
    expected = " or ".join(f"--layout {option}" for option in options)
    assert message.endswith(f"; say {'which' if options[1:] else 'so'} with {expected}")
    assert "\n" not in message
    for option in options:
        AxisLayout.parse(option).shape_after("x", shape)


@pytest.mark.parametrize(
    "shape",
    [
        (60000, 28, 28),
        (28, 28, 28),
        (1, 28, 28),
        (100, 1, 1000),
        (100, 16, 512),
        (30, 5, 4),
        (60000, 28, 28, 1),
        (50000, 32, 32, 3),
        (1, 480, 640, 3),
        (100, 4, 512, 1),
        (5, 6),
        (100,),
    ],
)
def test_the_usual_order_is_accepted(shape):
    check_unambiguous({"train": ("x", shape)}, {})


def test_labels_confirm_the_number_of_images():
    for shape in ((28, 28, 200), (32, 48, 3), (3, 32, 48)):
        check_unambiguous({"train": ("x", shape)}, {"train": shape[0]})
    with pytest.raises(ConfigError, match="200 images of 28x28"):
        check_unambiguous({"train": ("x", (28, 28, 200))}, {"train": 200})
    with pytest.raises(ConfigError, match="N28x28"):
        check_unambiguous({"train": ("x", (100, 784))}, {"train": 100})


def test_images_of_the_same_shape_in_another_split_confirm_it():
    check_unambiguous({"train": ("x", (500, 32, 48)), "test": ("y", (3, 32, 48))}, {})
    with pytest.raises(ConfigError, match="HWN"):
        check_unambiguous({"train": ("x", (28, 28, 500)), "test": ("y", (28, 28, 90))}, {})


def test_importing_it_loads_no_numpy():
    code = "import sys, components.sources.layout; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "numpy" not in ran.stdout.split()
