import numpy as np
import pytest

from components.model.latent_plane import Plane
from pipeline.evaluate.report.subject import DecodedPlane, shown
from tests.pipeline.evaluate.report.subjects import report_subject


def test_names_are_visible_and_cut_in_the_middle():
    assert shown("a\x1bb") == r"a\x1bb"
    assert shown("猫") == "猫"
    cut = shown("a" * 100 + "z" * 100)
    assert len(cut) == 60
    assert cut.startswith("aa")
    assert cut.endswith("zz")


def test_the_steps_are_the_coordinates_of_the_decoded_images():
    means = np.random.default_rng(0).standard_normal((50, 5)) * [5, 4, 1, 1, 1] + 3
    plane = Plane.of(means.astype(np.float32))
    space = DecodedPlane(plane, (0.1, 0.5, 0.9), np.zeros((3, 3, 2, 2, 1), np.uint8), label=0)
    horizontal, vertical = space.steps
    z = plane.grid(space.quantiles).reshape(3, 3, 5)
    for row, column in np.ndindex(3, 3):
        expected = plane.center + np.array([horizontal[column], vertical[row]]) @ plane.axes
        assert z[row, column] == pytest.approx(expected, abs=1e-5)
    assert horizontal == sorted(horizontal)
    assert vertical == sorted(vertical)


def test_classes_are_in_the_order_in_which_they_are_shown(example_set, model_dir):
    subject = report_subject(example_set, model_dir)
    assert sorted(subject.order) == list(range(10))
    assert subject.class_names == example_set.class_names
