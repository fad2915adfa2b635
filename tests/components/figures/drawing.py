"""Arguments and checks that the tests of all figures share."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

TITLES = {"title": "Latent space of the test set", "subtitle": "data · mlp · ELBO -262.3 nats"}
AXIS_LABELS = ("latent 1", "latent 2")
METRICS = ("loss", "distortion", "rate")


def read(path: Path) -> np.ndarray:
    """The picture in a PNG file, uint8 [height, width, 3], after the checks of every figure."""
    content = path.read_bytes()
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        assert image.format == "PNG"
        # Metadata such as a version or a date would make the bytes differ between runs.
        assert not image.text
        pixels = np.asarray(image.convert("RGB"))
    assert 250 < pixels.shape[0] < 2000
    assert 250 < pixels.shape[1] < 2000
    frame = pixels.copy()
    frame[20:-20, 20:-20] = 255
    assert (frame == 255).all(), "the margin is not empty: something is cut off"
    return pixels


def is_colored(pixels: np.ndarray) -> np.ndarray:
    """Whether each pixel is not gray, bool [height, width]; text and background are gray."""
    red, green, blue = np.moveaxis(pixels, 2, 0)
    return (red != green) | (green != blue)


def colored_box(pixels: np.ndarray) -> np.ndarray:
    """The smallest box that contains all pixels that are not gray."""
    rows, columns = np.nonzero(is_colored(pixels))
    return pixels[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
