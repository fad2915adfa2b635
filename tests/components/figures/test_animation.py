import numpy as np
import pytest
from PIL import Image, ImageSequence

from components.figures.animation import write_animation

RNG = np.random.default_rng(0)


def read(path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.info["loop"] == 0
        return np.stack(
            [np.array(frame.convert("RGB")) for frame in ImageSequence.Iterator(picture)]
        )


@pytest.mark.parametrize("channels", [1, 3])
def test_the_frames_go_forth_and_back_without_loss(tmp_path, channels):
    frames = RNG.integers(0, 256, (4, 1, 1, 128, 64, channels), np.uint8)
    write_animation(frames, tmp_path / "animation.webp")
    found = read(tmp_path / "animation.webp")
    assert found.shape == (6, 256, 128, 3)
    enlarged = frames[:, 0, 0].repeat(2, axis=1).repeat(2, axis=2)
    for index, expected in enumerate([0, 1, 2, 3, 2, 1]):
        np.testing.assert_array_equal(
            found[index], np.broadcast_to(enlarged[expected], found.shape[1:])
        )


def test_equal_frames_give_equal_bytes_and_two_frames_take_turns(tmp_path):
    frames = RNG.integers(0, 256, (2, 2, 3, 5, 4, 1), np.uint8)
    for name in ("a", "b"):
        write_animation(frames, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert len(read(tmp_path / "a")) == 2


def test_large_frames_are_reduced(tmp_path):
    frames = np.zeros((2, 2, 1, 800, 400, 1), np.uint8)
    frames[1] = 255
    write_animation(frames, tmp_path / "animation.webp")
    assert read(tmp_path / "animation.webp").shape[:3] == (2, 768, 192)
