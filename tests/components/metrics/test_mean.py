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


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [
        # The intervals of Newcombe (1998), "Two-sided confidence intervals for the single
        # proportion", table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_of_a_proportion_is_that_of_the_literature(successes, count, low, high):
    mean = Mean.of_proportion(np.arange(count) < successes)
    assert mean.value == successes / count
    assert mean.interval == pytest.approx((low, high), abs=5e-5)
    assert mean.half_width == pytest.approx((high - low) / 2, abs=5e-5)


@pytest.mark.parametrize(("successes", "count"), [(1, 4), (700, 1000), (9_999, 10_000)])
def test_the_ends_are_the_proportions_whose_score_test_rejects(successes, count):
    mean = Mean.of_proportion(np.arange(count) < successes)
    for end in mean.interval:
        score = (mean.value - end) / np.sqrt(end * (1 - end) / count)
        assert abs(score) == pytest.approx(1.959963984540054)


@pytest.mark.parametrize("count", [1, 167, 10_000])
def test_a_proportion_of_all_or_none_has_an_interval_that_ends_there(count):
    none, every = (Mean.of_proportion(np.full(count, value)) for value in (False, True))
    # z^2 / (N + z^2)
    square = 1.959963984540054**2
    assert none.interval == (0.0, pytest.approx(square / (count + square)))
    assert every.interval == (pytest.approx(count / (count + square)), 1.0)
    assert none.half_width == pytest.approx(square / (count + square) / 2)


def test_a_mean_in_the_middle_of_its_interval_needs_no_ends():
    assert Mean(2.0, 0.5).interval == (1.5, 2.5)
