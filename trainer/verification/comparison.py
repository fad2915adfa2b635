"""Compares training runs step by step."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

_WEIGHTS = "weights/"

StateArrays = dict[str, np.ndarray]


class TrainResult(NamedTuple):
    """The result of some training steps.

    Attributes:
      losses: loss of each step in nats, summed over the examples of its batch; float64.
      state: training state after the last step, by name.
    """

    losses: np.ndarray
    state: StateArrays


# Trains for a number of steps, from a given state or, with None, from the current one.
TrainFunction = Callable[[StateArrays | None, int], TrainResult]


@dataclasses.dataclass
class Differences:
    """The largest relative differences of one run from the first one.

    Attributes:
      step_loss: difference of the losses of single steps, each from the same state.
      step_weights: difference of the weights after such steps, and of the initial weights.
      epoch_loss: difference of the losses in the first epoch of a whole run.
      run_loss: difference of the losses in a whole run.
      run_weights: difference of the weights after a whole run.
    """

    step_loss: float = 0.0
    step_weights: float = 0.0
    epoch_loss: float = 0.0
    run_loss: float = 0.0
    run_weights: float = 0.0


def compare(
    train_functions: Sequence[TrainFunction], *, steps: int, steps_per_epoch: int
) -> list[Differences]:
    """Compares all runs but the first with the first.

    Args:
      train_functions: one for each run; all runs have the same initial weights.
      steps: number of steps to compare.
      steps_per_epoch: number of steps of an epoch.

    Returns:
      The differences of the second run, the third, and so on.
    """
    first, *others = train_functions
    initial_state = first(None, 0).state
    all_differences = [
        Differences(step_weights=weights_difference(initial_state, train(None, 0).state))
        for train in others
    ]
    # Single steps: every run takes each step from the state of the first run.
    state = initial_state
    for _ in range(steps):
        expected = first(state, 1)
        for train, differences in zip(others, all_differences, strict=True):
            actual = train(state, 1)
            loss = _largest(_loss_differences(expected, actual))
            weights = weights_difference(expected.state, actual.state)
            differences.step_loss = _largest((differences.step_loss, loss))
            differences.step_weights = _largest((differences.step_weights, weights))
        state = expected.state
    # Whole runs: every run continues from its own state.
    expected = first(initial_state, steps)
    for train, differences in zip(others, all_differences, strict=True):
        actual = train(initial_state, steps)
        losses = _loss_differences(expected, actual)
        differences.epoch_loss = _largest(losses[:steps_per_epoch])
        differences.run_loss = _largest(losses)
        differences.run_weights = weights_difference(expected.state, actual.state)
    return all_differences


def weights_difference(expected: StateArrays, actual: StateArrays) -> float:
    """The relative difference of the tensor of weights for which it is largest."""
    return _largest(
        relative_difference(array.astype(np.float64), actual[name])
        for name, array in expected.items()
        if name.startswith(_WEIGHTS)
    )


def relative_difference(expected: np.ndarray, actual: np.ndarray) -> float:
    """|expected - actual| / |expected|, in Euclidean norms; 0 if both arrays are zero."""
    difference = float(np.linalg.norm(actual - expected))
    size = float(np.linalg.norm(expected))
    if size:
        return difference / size
    # Biases are initially zero.
    return math.inf if difference else 0.0


def _loss_differences(expected: TrainResult, actual: TrainResult) -> np.ndarray:
    return np.abs(actual.losses - expected.losses) / np.abs(expected.losses)


def _largest(values: Iterable[float]) -> float:
    """The largest value; NaN if there is one."""
    return float(np.max(list(values)))
