import numpy as np
import pytest
from etils import epath
from PIL import Image

from components.base.errors import ConfigError
from components.ingest import decode, image_file
from components.ingest.conversion import AS_IS, Conversion


def test_an_image_is_converted(tmp_path):
    path = epath.Path(tmp_path / "image.png")
    Image.new("RGBA", (60, 60), (255, 0, 0, 0)).save(path)
    pixels = image_file.read(path, Conversion((28, 20), 1, "white"))
    assert pixels.shape == (28, 20, 1)
    assert (pixels == 255).all()
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    Image.fromarray(values).save(path)
    np.testing.assert_array_equal(image_file.read(path, AS_IS)[..., 0], values)


def test_a_file_that_is_no_image_is_refused(tmp_path):
    path = epath.Path(tmp_path / "image.png")
    path.write_text("no image")
    with pytest.raises(ConfigError, match=r"image\.png cannot be used: "):
        image_file.read(path, AS_IS)


def test_a_file_that_is_too_long_is_not_read(tmp_path):
    path = tmp_path / "image.png"
    with path.open("wb") as file:
        file.truncate(decode.MAX_ENCODED_BYTES + 1)
    with pytest.raises(ConfigError, match="134,217,729 bytes, too many for an image"):
        image_file.read(epath.Path(path), AS_IS)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_file_has_the_pixels(tmp_path, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, channels), np.uint8)
    path = epath.Path(tmp_path / "image.png")
    path.write_bytes(image_file.to_png(pixels))
    np.testing.assert_array_equal(image_file.read(path, AS_IS), pixels)
