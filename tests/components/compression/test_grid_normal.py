import math

import numpy as np
import pytest

from components.compression.grid_normal import GridNormal, RangeError, TailedNormal, half_windows
from tests.components.compression.coded_models import bits, filled

STEP = 2.0**-8
LANES = 500


def test_normal_variables_come_back_and_have_their_mean_and_deviation():
    means, deviations = np.full(LANES, 0.3), np.full(LANES, 0.2)
    normal = GridNormal(means, deviations, STEP)
    message = filled(LANES)
    before = message.states.copy()
    values = normal.pop(message)
    assert (values * STEP).mean() == pytest.approx(0.3, abs=0.05)
    assert (values * STEP).std() == pytest.approx(0.2, abs=0.03)
    normal.push(message, values)
    assert (message.states == before).all()


def test_a_variable_takes_the_bits_of_its_density():
    message = filled(LANES)
    values = np.random.default_rng(0).normal(size=LANES)
    steps = np.rint(values / STEP).astype(np.int64)
    before = bits(message)
    TailedNormal(np.zeros(LANES), np.ones(LANES), STEP).push(message, steps)
    density = -0.5 * (steps * STEP) ** 2 - 0.5 * math.log(2 * math.pi)
    expected = -(density + math.log(STEP)).sum() / math.log(2)
    assert bits(message) - before == pytest.approx(expected, rel=5e-3)


def test_a_value_beyond_its_window_is_refused():
    normal = GridNormal(np.zeros(LANES), np.ones(LANES), STEP)
    with pytest.raises(RangeError):
        normal.push(filled(LANES), np.full(LANES, round(6 / STEP)))
    assert half_windows(np.array([1.0]), 0.5)[0] == 12


def test_with_tails_any_value_comes_back():
    values = np.repeat([-(1 << 30), -4096, -4095, 0, 4096, 4097, 5_000_000, 77, 1, -1], 50)
    means = np.tile([0.0, -3.7, 1e5, 0.001, 12.5], 100)
    deviations = np.tile([1.0, 1e-6, 30.0, 1e9, 0.01, 2.0, 0.5], 72)[:LANES]
    normal = TailedNormal(means, deviations, STEP)
    message = filled(LANES)
    states = message.states.copy()
    normal.push(message, values)
    assert (normal.pop(message) == values).all()
    assert (message.states == states).all()
    with pytest.raises(RangeError):
        normal.push(message, values << 40)


def test_a_wide_normal_has_a_window_that_can_be_coded():
    normal = GridNormal(np.zeros(LANES), np.full(LANES, 1e9), STEP)
    message = filled(LANES)
    states = message.states.copy()
    normal.push(message, normal.pop(message))
    assert (message.states == states).all()
