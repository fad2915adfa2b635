import base64
import io

import numpy as np
import pytest
from PIL import Image

from components.figures import page_pictures


def picture(uri: str) -> np.ndarray:
    """The pixels of a data URI."""
    head, _, data = uri.partition(",")
    assert head in [f"data:image/{kind};base64" for kind in ("png", "jpeg", "webp")]
    with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as image:
        return np.asarray(image)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_tiles_are_the_images_with_transparent_gaps(channels):
    images = noise(2, 3, 28, 28, channels)
    drawn = page_pictures.tiles(images)
    pixels = picture(drawn.uri)
    assert pixels.shape == (2 * 28 + 2, 3 * 28 + 2 * 2, 4)
    assert (pixels[30:58, 60:88, :3] == images[1, 2]).all()
    assert (pixels[:28, :28, 3] == 255).all()
    assert (pixels[28:30, :, 3] == 0).all()
    assert (pixels[:, 28:30, 3] == 0).all()
    # Enlarged by a whole number.
    assert (drawn.width, drawn.height) == (2 * 88, 2 * 58)


def test_tiles_without_a_gap_join():
    images = noise(2, 2, 4, 4, 1)
    pixels = picture(page_pictures.tiles(images, gap=0).uri)
    assert pixels.shape == (8, 8, 4)
    assert (pixels[4:, :4, :3] == images[1, 0]).all()
    assert (pixels[..., 3] == 255).all()


def test_large_images_are_reduced_and_thin_ones_stay_visible():
    drawn = page_pictures.tiles(np.full((1, 1, 8, 1000, 1), 0.5))
    assert picture(drawn.uri).shape == (1, 64, 4)
    assert (picture(drawn.uri)[..., 0] == 128).all()
    with pytest.raises(ValueError, match="images must have shape"):
        page_pictures.tiles(np.zeros((2, 4, 4, 1)))


def test_large_colored_tiles_keep_their_gaps_and_lose_few_details():
    images = np.zeros((1, 2, 40, 40, 3), np.uint8)
    images[:, 0, 10:30, 10:30] = (200, 40, 90)
    drawn = page_pictures.tiles(images)
    assert drawn.uri.startswith("data:image/webp")
    pixels = picture(drawn.uri).astype(int)
    assert (pixels[:, 40:42, 3] == 0).all()
    assert abs(pixels[13:27, 13:27, :3] - (200, 40, 90)).max() < 8


def test_a_sprite_of_gray_images_is_exact():
    images = noise(7, 6, 10, 1)
    drawn = page_pictures.sprite(images, side=32, max_bytes=10_000)
    assert drawn is not None
    pixels = picture(drawn.uri)
    assert pixels.shape == (drawn.height, drawn.width)
    for index, image in enumerate(images):
        row, column = divmod(index, drawn.columns)
        top, left = row * drawn.pitch[0], column * drawn.pitch[1]
        assert (pixels[top : top + 6, left : left + 10] == image[..., 0]).all()


def test_a_sprite_of_colored_images_keeps_them_apart():
    # Full-black and full-white neighbors would bleed into one another within a block.
    images = np.zeros((9, 10, 10, 3), np.uint8)
    images[::2] = 255
    drawn = page_pictures.sprite(images, side=32, max_bytes=100_000)
    assert drawn is not None
    assert drawn.uri.startswith("data:image/jpeg")
    assert (drawn.size, drawn.pitch) == ((10, 10), (16, 16))
    pixels = picture(drawn.uri).astype(int)
    for index in range(9):
        row, column = divmod(index, drawn.columns)
        tile = pixels[row * 16 :, column * 16 :][:8, :8]
        assert abs(tile - (0 if index % 2 else 255)).max() < 8


def test_a_sprite_that_is_too_large_is_none():
    assert page_pictures.sprite(noise(50, 32, 32, 1), side=32, max_bytes=40_000) is None
    assert page_pictures.sprite(noise(50, 32, 32, 1), side=8, max_bytes=40_000) is not None


def test_reduced_images_have_the_mean_of_the_pixels():
    images = np.repeat(np.repeat(noise(2, 3, 4, 3), 5, axis=1), 5, axis=2)
    assert (page_pictures.reduced(images, side=4) == images[:, ::5, ::5]).all()
    assert page_pictures.reduced(images, side=20) is images


def test_dots_are_where_the_points_are():
    pixels = picture(
        page_pictures.dots([0, 1, 0.5], [0, 1, 0.5], [0, 1, 1], ["#ff0000", "#0000ff"])
    )
    side = len(pixels)
    assert pixels.shape == (side, side, 4)
    assert pixels[-4:, :4, 0].max() == 255  # Red, at the bottom left.
    assert pixels[:6, -6:, 2].max() == 255  # Blue, at the top right.
    assert (pixels[..., 3] == 255).sum() == 3 * 9


def test_equal_points_have_a_picture():
    assert (
        picture(page_pictures.dots([7.0] * 3, [0.0] * 3, [0] * 3, ["#123456"]))[..., 3] > 0
    ).any()
