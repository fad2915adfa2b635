import math

import numpy as np
import pytest
import tensorflow as tf

from trainer.schedules import schedule


def rates(shape: str, steps: list[int], warmup_steps: int = 0) -> list[float]:
    at = schedule(shape, rate=0.1, total_steps=100, warmup_steps=warmup_steps)
    return [float(at(tf.constant(step, tf.int64))) for step in steps]


def test_constant():
    assert rates("constant", [0, 50, 99]) == pytest.approx([0.1] * 3)


def test_cosine_falls_from_the_rate_to_nothing():
    expected = [0.05 * (1 + math.cos(math.pi * share)) for share in (0, 0.25, 0.5, 0.99)]
    np.testing.assert_allclose(rates("cosine", [0, 25, 50, 99]), expected, rtol=1e-4)


def test_warm_up_rises_in_equal_parts_to_the_full_rate():
    assert rates("constant", [0, 1, 9, 10, 50], 10) == pytest.approx([0.01, 0.02, 0.1, 0.1, 0.1])
