import numpy as np
import pytest

from components.metrics.mean import Mean


def test_the_mean_and_its_interval_agree_with_their_formulas():
    mean = Mean.of(np.array([1.0, 2.0, 3.0, 4.0]))
    assert mean.value == 2.5
    # The half width is z s / √N, with s² = 5/3 and N = 4.
    assert mean.half_width == pytest.approx(1.959964 * np.sqrt(5 / 3) / 2)


def test_the_interval_covers_the_true_mean_in_95_percent_of_samples():
    rng = np.random.default_rng(0)
    means = [Mean.of(rng.normal(7, 2, 200)) for _ in range(2000)]
    covered = np.mean([abs(mean.value - 7) <= mean.half_width for mean in means])
    assert 0.935 < covered < 0.965


def test_the_interval_of_a_single_example_is_infinite():
    assert Mean.of(np.array([3.0], np.float32)) == Mean(3.0, float("inf"))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([3.0], "3.00"),
        ([1.0, 1.0], "1.00 ± 0.00"),
        ([-1.0, -3.0], "-2.00 ± 1.96"),
        ([-0.001], "0.00"),
    ],
)
def test_the_text_has_an_interval_if_there_is_one(values, text):
    assert str(Mean.of(np.array(values))) == text
