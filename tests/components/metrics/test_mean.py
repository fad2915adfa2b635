import numpy as np
import pytest

from components.metrics.mean import Mean


def test_the_mean_and_its_interval():
    mean = Mean.of(np.array([1.0, 2.0, 3.0, 4.0]))
    assert mean.value == 2.5
    # s = sqrt(5/3), over sqrt(4), times the 97.5 % quantile
    assert mean.half_width == pytest.approx(1.959964 * np.sqrt(5 / 3) / 2)


def test_the_interval_covers_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    means = [Mean.of(rng.normal(7, 2, 200)) for _ in range(2000)]
    covered = np.mean([abs(mean.value - 7) <= mean.half_width for mean in means])
    assert 0.935 < covered < 0.965
