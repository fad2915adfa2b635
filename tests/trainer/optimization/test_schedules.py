import math
from fractions import Fraction

import numpy as np
import pytest
import tensorflow as tf

from components.base.errors import ConfigError
from trainer.optimization.schedules import (
    BETA_SHAPES,
    SHAPES,
    Schedule,
    beta_schedule,
    schedule,
)

LONG = 10**7


def compiled(at: Schedule, steps) -> np.ndarray:
    """A schedule's values at steps, as a run on the compiled path has them."""
    function = tf.function(at, jit_compile=True)
    values = [function(tf.constant(int(step), tf.int64)) for step in steps]
    assert all(value.dtype == tf.float32 and value.shape == () for value in values)
    return np.array(values)


def rates(shape: str, steps, warmup_steps: int = 0, total_steps: int = 100) -> np.ndarray:
    at = schedule(shape, rate=0.1, total_steps=total_steps, warmup_steps=warmup_steps)
    return compiled(at, steps)


def betas(shape: str, steps, *, total_steps: int = 100, cycles: int = 4) -> np.ndarray:
    at = beta_schedule(shape, beta=0.7, total_steps=total_steps, cycles=cycles)
    return compiled(at, steps)


def test_constant():
    assert rates("constant", [0, 50, 99]) == pytest.approx([0.1] * 3)


def test_cosine_falls_from_the_rate_to_nothing():
    expected = [0.05 * (1 + math.cos(math.pi * share)) for share in (0, 0.25, 0.5, 0.99)]
    np.testing.assert_allclose(rates("cosine", [0, 25, 50, 99]), expected, rtol=1e-4)


def test_one_cycle_is_low_highest_at_30_percent_and_lowest_at_the_end():
    expected = [0.1 / 25, 0.5 * (0.1 + 0.1 / 25), 0.1, 0.5 * (0.1 + 0.1 / 250_000), 0.1 / 250_000]
    np.testing.assert_allclose(rates("one_cycle", [0, 15, 30, 65, 100]), expected, rtol=1e-5)


def test_one_cycle_is_pytorchs_annealing_at_each_share_of_the_run():
    """`_annealing_cos` of torch.optim.lr_scheduler, in float64."""

    def annealed(start: float, end: float, share: float) -> float:
        return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1)

    total = 1000
    steps = [1, 37, 299, 300, 301, 512, 900, 990, 998, 999]
    first, last = 0.1 / 25, 0.1 / 25 / 1e4
    expected = [
        annealed(first, 0.1, step / 300) if step < 300 else annealed(0.1, last, (step - 300) / 700)
        for step in steps
    ]
    np.testing.assert_allclose(rates("one_cycle", steps, total_steps=total), expected, rtol=2e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_rate_is_negative_or_over_the_largest(shape):
    # Some shares of a third are no float32's.
    values = rates(shape, [*range(0, 33, 3), 32], total_steps=33)
    assert values.min() >= 0
    assert values.max() <= np.float32(0.1)


def test_warm_up_rises_in_equal_parts_to_the_full_rate():
    assert rates("constant", [0, 1, 9, 10, 50], 10) == pytest.approx([0.01, 0.02, 0.1, 0.1, 0.1])


def test_constant_beta():
    assert betas("constant", [0, 50, 99]) == pytest.approx([0.7] * 3)


def test_linear_beta_rises_over_half_the_run():
    expected = [0, 0.014, 0.35, 0.686, 0.7, 0.7, 0.7]
    assert betas("linear", [0, 1, 25, 49, 50, 75, 99]) == pytest.approx(expected)


def test_cyclical_beta_starts_again_with_each_cycle():
    steps = [0, 5, 10, 12, 13, 24, 25, 30, 49, 50, 75, 80, 99]
    expected = [0, 0.28, 0.56, 0.672, 0.7, 0.7, 0, 0.28, 0.7, 0, 0, 0.28, 0.7]
    assert betas("cyclical", steps) == pytest.approx(expected)


def exact_beta(step: int, total_steps: int, cycles: int) -> float:
    """In fractions: how far the step is into the last cycle that began at it or before."""
    length = Fraction(total_steps, cycles)
    begun = max(start for k in range(cycles) if (start := k * length) <= step)
    return 0.7 * float(min(Fraction(1), 2 * (step - begun) / length))


@pytest.mark.parametrize("cycles", [1, 3, 4, 7])
@pytest.mark.parametrize("total_steps", [97, 30_000, LONG, LONG - 1])
def test_every_cycle_begins_at_its_first_step_however_long_the_run(total_steps, cycles):
    starts = [-(-k * total_steps // cycles) for k in range(cycles)]
    steps = sorted({0, *starts, *(s + 1 for s in starts), *(s - 1 for s in starts[1:])})
    steps += [total_steps // 3, total_steps // 2, total_steps - 1]
    expected = [exact_beta(step, total_steps, cycles) for step in steps]
    actual = betas("cyclical", steps, total_steps=total_steps, cycles=cycles)
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-12)
    if cycles == 1:
        linear = betas("linear", steps, total_steps=total_steps, cycles=5)
        np.testing.assert_array_equal(linear, actual)


def test_cycles_of_less_than_two_steps_are_refused():
    with pytest.raises(ConfigError, match="beta_cycles=4 over 7 steps"):
        beta_schedule("cyclical", beta=1.0, total_steps=7, cycles=4)
    for shape in BETA_SHAPES.keys() - {"cyclical"}:
        assert np.isfinite(betas(shape, [0], total_steps=1))
