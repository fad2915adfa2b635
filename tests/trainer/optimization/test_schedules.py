import math
from fractions import Fraction

import numpy as np
import pytest
import tensorflow as tf

from components.base.arithmetic import ceil_div
from components.base.errors import ConfigError
from trainer.choices import BETA_SCHEDULES, LEARNING_RATE_SCHEDULES
from trainer.optimization.schedules import (
    ConstantBeta,
    ConstantRate,
    CosineRate,
    CyclicalBeta,
    LinearBeta,
    OneCycleRate,
    Schedule,
)

LONG = 10**7


def compiled_values(schedule: Schedule, steps) -> np.ndarray:
    """The values at some steps, compiled by XLA as in the training loop."""
    function = tf.function(schedule.__call__, jit_compile=True)
    values = [function(tf.constant(int(step), tf.int64)) for step in steps]
    assert all(value.dtype == tf.float32 and value.shape == () for value in values)
    return np.array(values)


def rates(cls, steps, warmup_steps: int = 0, total_steps: int = 100) -> np.ndarray:
    schedule = cls(peak=0.1, total_steps=total_steps, warmup_steps=warmup_steps)
    return compiled_values(schedule, steps)


def betas(
    cls, steps, *, total_steps: int = 100, warmup_steps: int = 50, cycles: int = 4
) -> np.ndarray:
    schedule = cls(beta=0.7, total_steps=total_steps, warmup_steps=warmup_steps, cycles=cycles)
    return compiled_values(schedule, steps)


def test_constant_rate():
    assert rates(ConstantRate, [0, 50, 99]) == pytest.approx([0.1] * 3)


def test_cosine_rate_falls_from_the_peak_to_0():
    expected = [0.05 * (1 + math.cos(math.pi * share)) for share in (0, 0.25, 0.5, 0.99)]
    np.testing.assert_allclose(rates(CosineRate, [0, 25, 50, 99]), expected, rtol=1e-4)


def test_one_cycle_rate_peaks_at_30_percent_of_the_run():
    expected = [0.1 / 25, 0.5 * (0.1 + 0.1 / 25), 0.1, 0.5 * (0.1 + 0.1 / 250_000), 0.1 / 250_000]
    np.testing.assert_allclose(rates(OneCycleRate, [0, 15, 30, 65, 100]), expected, rtol=1e-5)


def test_one_cycle_rate_follows_pytorchs_annealing():
    """The reference is `_annealing_cos` of torch.optim.lr_scheduler, in float64."""

    def annealed(start: float, end: float, share: float) -> float:
        return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1)

    total = 1000
    steps = [1, 37, 299, 300, 301, 512, 900, 990, 998, 999]
    first, last = 0.1 / 25, 0.1 / 25 / 1e4
    expected = [
        annealed(first, 0.1, step / 300) if step < 300 else annealed(0.1, last, (step - 300) / 700)
        for step in steps
    ]
    np.testing.assert_allclose(rates(OneCycleRate, steps, total_steps=total), expected, rtol=2e-4)


@pytest.mark.parametrize("name", LEARNING_RATE_SCHEDULES)
def test_every_rate_is_between_0_and_the_peak(name):
    # In 33 steps, most fractions of the run are not exact in float32.
    steps = [*range(0, 33, 3), 32]
    values = rates(LEARNING_RATE_SCHEDULES[name], steps, total_steps=33)
    assert values.min() >= 0
    assert values.max() <= np.float32(0.1)


def test_the_warm_up_rises_linearly_to_the_peak():
    expected = [0.01, 0.02, 0.1, 0.1, 0.1]
    assert rates(ConstantRate, [0, 1, 9, 10, 50], 10) == pytest.approx(expected)


def test_constant_beta():
    assert betas(ConstantBeta, [0, 50, 99]) == pytest.approx([0.7] * 3)


def test_linear_beta_rises_over_the_warm_up():
    steps = [0, 1, 25, 49, 50, 75, 99]
    expected = [0, 0.014, 0.35, 0.686, 0.7, 0.7, 0.7]
    assert betas(LinearBeta, steps, warmup_steps=50) == pytest.approx(expected)
    expected = [0, 0.007, 0.175, 0.343, 0.35, 0.525, 0.693]
    assert betas(LinearBeta, steps, warmup_steps=100) == pytest.approx(expected)


def test_linear_beta_without_a_warm_up_is_constant():
    assert betas(LinearBeta, [0, 1, 99], warmup_steps=0) == pytest.approx([0.7, 0.7, 0.7])


def test_cyclical_beta_starts_again_with_each_cycle():
    steps = [0, 5, 10, 12, 13, 24, 25, 30, 49, 50, 75, 80, 99]
    expected = [0, 0.28, 0.56, 0.672, 0.7, 0.7, 0, 0.28, 0.7, 0, 0, 0.28, 0.7]
    assert betas(CyclicalBeta, steps) == pytest.approx(expected)


def exact_beta(step: int, total_steps: int, cycles: int) -> float:
    """The cyclical beta in exact fractions."""
    length = Fraction(total_steps, cycles)
    cycle_start = max(start for k in range(cycles) if (start := k * length) <= step)
    return 0.7 * float(min(Fraction(1), 2 * (step - cycle_start) / length))


@pytest.mark.parametrize("cycles", [1, 3, 4, 7])
@pytest.mark.parametrize("total_steps", [97, 30_000, LONG, LONG - 1])
def test_cyclical_beta_is_exact_however_long_the_run(total_steps, cycles):
    starts = [ceil_div(k * total_steps, cycles) for k in range(cycles)]
    steps = sorted({0, *starts, *(s + 1 for s in starts), *(s - 1 for s in starts[1:])})
    steps += [total_steps // 3, total_steps // 2, total_steps - 1]
    expected = [exact_beta(step, total_steps, cycles) for step in steps]
    actual = betas(CyclicalBeta, steps, total_steps=total_steps, cycles=cycles)
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-12)
    if cycles == 1 and total_steps % 2 == 0:
        linear = betas(LinearBeta, steps, total_steps=total_steps, warmup_steps=total_steps // 2)
        np.testing.assert_allclose(linear, actual, rtol=1e-6)


def test_cycles_shorter_than_two_steps_are_rejected():
    with pytest.raises(ConfigError, match="beta_cycles=4 over 7 steps"):
        CyclicalBeta(beta=1.0, total_steps=7, cycles=4)
    for cls in (ConstantBeta, LinearBeta):
        assert np.isfinite(betas(cls, [0], total_steps=1))


def test_learning_rates_describe_themselves():
    def described(name: str, **fields) -> str:
        return LEARNING_RATE_SCHEDULES[name](peak=0.1, total_steps=100, **fields).description

    assert described("constant") == "0.1: constant"
    assert described("cosine", warmup_steps=5) == (
        "0.1: rises from 0 over 5 steps, then falls along half a cosine to 0"
    )
    assert described("cosine", warmup_steps=1).startswith("0.1: rises from 0 over 1 step, then")
    assert described("one_cycle").startswith("0.1: one cycle, rising over the first 30 %")


def test_beta_schedules_describe_themselves():
    descriptions = {
        name: BETA_SCHEDULES[name](
            beta=4.0, total_steps=1200, warmup_steps=300, cycles=3
        ).description
        for name in BETA_SCHEDULES
    }
    assert descriptions == {
        "constant": "4",
        "linear": "4, rising from 0 over 300 of 1,200 steps",
        "cyclical": "4, rising from 0 over the first half of each of 3 cycles",
    }
