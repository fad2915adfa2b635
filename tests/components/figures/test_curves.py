"""Tests of the figure of the learning curves."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from components.figures.curves import HELDOUT_COLOR, learning_curves
from tests.components.figures.drawing import METRICS, TITLES, read


@pytest.mark.parametrize(
    ("train", "heldout"),
    [
        ([5.0, 4.0, 3.5], None),
        ([5.0, 4.0, 3.5], [None, 4.5, None]),
        ([5.0, float("nan"), 3.5], [5.0, 4.5, float("inf")]),
        ([float("nan")], [float("nan")]),
    ],
)
def test_curves_of_any_length_with_missing_values_are_drawn(tmp_path, train, heldout):
    learning_curves(
        list(range(1, len(train) + 1)),
        train=dict.fromkeys(METRICS, train),
        heldout=None if heldout is None else dict.fromkeys(METRICS, heldout),
        path=tmp_path / "figure.png",
        **TITLES,
    )
    pixels = read(tmp_path / "figure.png")
    heldout_pixels = (pixels == np.rint(255 * np.array(to_rgb(HELDOUT_COLOR)))).all(axis=-1)
    has_heldout_curve = heldout is not None and any(
        value is not None and np.isfinite(value) for value in heldout
    )
    assert heldout_pixels.any() == has_heldout_curve


def test_a_value_per_epoch_is_required(tmp_path):
    with pytest.raises(ValueError, match="shorter"):
        learning_curves(
            [1, 2],
            train={name: [1.0] for name in METRICS},
            heldout=None,
            path=tmp_path / "figure.png",
            **TITLES,
        )
