import math

import numpy as np
import pytest

from trainer.verification.comparison import (
    StateArrays,
    TrainFunction,
    TrainResult,
    compare,
    relative_difference,
    weights_difference,
)


def trainer(
    *, initial_weight: float = 1.0, weight_error: float = 0.0, loss_error: float = 0.0
) -> TrainFunction:
    """A run whose weight doubles in every step, with a relative error in each step.

    The loss of a step is its number, counted from 1; the error of the loss begins in step 4.
    """
    current = {"step": np.array(0.0), "weights/0000": np.array([initial_weight])}

    def train(state: StateArrays | None, num_steps: int) -> TrainResult:
        nonlocal current
        step, weight = (state or current).values()
        losses = []
        for _ in range(num_steps):
            weight = weight * 2 * (1 + weight_error)
            step = step + 1
            losses.append(float(step) * (1 + (loss_error if step >= 4 else 0.0)))
        current = {"step": step, "weights/0000": weight}
        return TrainResult(np.array(losses), current)

    return train


def test_equal_runs_have_no_differences():
    (differences,) = compare([trainer(), trainer()], steps=5, steps_per_epoch=3)
    assert vars(differences) == dict.fromkeys(vars(differences), 0.0)


def test_single_steps_start_from_the_first_runs_state():
    first, second = trainer(), trainer(weight_error=1e-3)
    (differences,) = compare([first, second], steps=4, steps_per_epoch=2)
    # In single steps the error does not add up, in a run it does.
    assert differences.step_weights == pytest.approx(1e-3)
    assert differences.run_weights == pytest.approx(1.001**4 - 1)
    assert differences.step_loss == differences.run_loss == 0.0


def test_losses_of_the_first_epoch_and_of_the_run_are_told_apart():
    first, second = trainer(), trainer(loss_error=0.5)
    (differences,) = compare([first, second], steps=5, steps_per_epoch=3)
    assert differences.epoch_loss == 0.0
    assert differences.run_loss == differences.step_loss == pytest.approx(0.5)


def test_initial_weights_are_compared():
    (differences,) = compare([trainer(), trainer(initial_weight=1.5)], steps=1, steps_per_epoch=1)
    assert differences.step_weights == pytest.approx(0.5)


def test_every_run_is_compared_with_the_first():
    runs = [trainer(), trainer(), trainer(weight_error=0.25)]
    second, third = compare(runs, steps=1, steps_per_epoch=1)
    assert (second.step_weights, third.step_weights) == (0.0, 0.25)


def test_a_loss_that_is_nan_is_the_largest_difference():
    (differences,) = compare([trainer(), trainer(loss_error=math.nan)], steps=5, steps_per_epoch=3)
    assert math.isnan(differences.run_loss)
    assert math.isnan(differences.step_loss)


@pytest.mark.parametrize(
    ("expected", "actual", "difference"),
    [
        ([3.0, 4.0], [3.0, 4.0], 0.0),
        ([3.0, 4.0], [3.0, 4.5], 0.1),
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([0.0, 0.0], [0.0, 1.0], math.inf),
        ([1.0, 1.0], [math.nan, 1.0], math.nan),
    ],
)
def test_the_relative_difference(expected, actual, difference):
    result = relative_difference(np.array(expected), np.array(actual))
    assert result == pytest.approx(difference, nan_ok=True)


def test_the_difference_of_weights_is_that_of_the_worst_tensor():
    expected = {"weights/0": np.float32([3, 4]), "weights/1": np.float32([1]), "step": np.int64(1)}
    actual = {"weights/0": np.float32([3, 4.5]), "weights/1": np.float32([1]), "step": np.int64(9)}
    assert weights_difference(expected, actual) == pytest.approx(0.1)
