import numpy as np
import pytest
from PIL import Image

from components.figures.compared_curves import compared_curves

LOSSES = {"loss": [30.0, 25.0], "distortion": [20.0, 15.0], "rate": [10.0, 10.0]}


def draw(path, runs) -> np.ndarray:
    compared_curves(runs, title="Learning curves", subtitle="nats", path=path)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_every_run_has_a_curve_of_its_own_color(tmp_path):
    one = draw(tmp_path / "one.png", [("a", [1, 2], LOSSES)])
    higher = {name: [value + 1 for value in values] for name, values in LOSSES.items()}
    two = draw(tmp_path / "two.png", [("a", [1, 2], LOSSES), ("_b", [1, 2], higher)])
    orange = np.array([0xD9, 0x5F, 0x02])
    assert (two == orange).all(axis=-1).sum() > 100
    assert not (one == orange).all(axis=-1).any()


def test_more_runs_than_colors_and_values_that_are_not_finite_are_drawn(tmp_path):
    losses = {name: [np.nan, 1.0] for name in LOSSES}
    runs = [(f"run $ {number}", [1, 2], losses) for number in range(20)]
    assert draw(tmp_path / "many.png", runs).size


def test_a_curve_of_another_length_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="zip"):
        draw(tmp_path / "short.png", [("a", [1, 2, 3], LOSSES)])
