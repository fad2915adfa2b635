import numpy as np
import pytest
from PIL import Image

from benchmarks.sizes import Bar, draw_sizes

OURS = np.array([0x0F, 0x5F, 0xA6])
PARTS = [("pixels", 90.0), ("latents", 10.0)]


def draw(path, bars, parts=PARTS) -> np.ndarray:
    draw_sizes(bars, parts, title="Sizes", subtitle="of images", path=path)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def longest(pixels, color) -> int:
    return int((pixels == color).all(axis=-1).sum(axis=1).max())


def test_the_bars_are_as_long_as_the_sizes(tmp_path):
    bars = [Bar("PNG", 4.0, "measured"), Bar("ours", 2.0, "ours"), Bar("paper", 3.0, "published")]
    # Our file has one part, so that its color is that of one bar in the first panel.
    pixels = draw(tmp_path / "a.png", bars, [("", 0.0), ("all", 1.0)])
    other = longest(pixels, np.array([0x9F, 0xB8, 0xCF]))
    assert longest(pixels, OURS) == pytest.approx(other / 2, rel=0.02)
    assert longest(pixels, np.array([0xDD, 0xDD, 0xDD])) == pytest.approx(0.75 * other, rel=0.02)


def test_the_order_of_the_bars_is_that_of_their_sizes(tmp_path):
    bars = [Bar("b", 3.0, "measured"), Bar("a", 2.0, "ours"), Bar("$c$", 4.0, "measured")]
    first, second = draw(tmp_path / "a.png", bars), draw(tmp_path / "b.png", bars[::-1])
    assert (first == second).all()
