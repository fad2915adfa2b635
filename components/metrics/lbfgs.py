"""The minimum of a smooth convex function, by L-BFGS (Liu and Nocedal 1989)."""

import collections
from collections.abc import Callable

import numpy as np

_MEMORY = 10  # Pairs of steps and changes of the gradient that the curvature is estimated from.
_MAX_STEPS = 1000
_MAX_HALVINGS = 40
_SUFFICIENT_DECREASE = 1e-4  # Of the Armijo rule.


def minimize(
    function: Callable[[np.ndarray], tuple[float, np.ndarray]],
    start: np.ndarray,
    *,
    tolerance: float = 1e-5,
) -> np.ndarray:
    """Finds the vector at which a function has its minimum.

    Args:
      function: gives the value and the gradient, float64 [N], at a vector.
      start: where to start, float64 [N].
      tolerance: the search ends where no entry of the gradient is larger. It also ends where
        rounding hides any further decrease, and after 1,000 steps.
    """
    place = start
    value, gradient = function(place)
    pairs: collections.deque[tuple[np.ndarray, np.ndarray]] = collections.deque(maxlen=_MEMORY)
    for _ in range(_MAX_STEPS):
        if np.abs(gradient).max() <= tolerance:
            break
        direction = -_times_inverse_hessian(gradient, pairs)
        slope = float(direction @ gradient)
        # Without an estimate of the curvature, the first step has the length 1 at most.
        length = 1.0 if pairs else min(1.0, 1 / float(np.linalg.norm(direction)))
        for _ in range(_MAX_HALVINGS):
            next_place = place + length * direction
            next_value, next_gradient = function(next_place)
            if next_value <= value + _SUFFICIENT_DECREASE * length * slope:
                break
            length /= 2
        else:
            break
        change = next_gradient - gradient
        # For a convex function, this product is negative only by rounding.
        if (next_place - place) @ change > 0:
            pairs.append((next_place - place, change))
        place, value, gradient = next_place, next_value, next_gradient
    return place


def _times_inverse_hessian(
    vector: np.ndarray, pairs: collections.deque[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    """The product of the estimated inverse Hessian matrix and a vector: the two-loop recursion."""
    product, factors = vector.copy(), []
    for step, change in reversed(pairs):
        factors.append(float(step @ product) / float(step @ change))
        product -= factors[-1] * change
    if pairs:
        step, change = pairs[-1]
        product *= float(step @ change) / float(change @ change)
    for (step, change), factor in zip(pairs, reversed(factors), strict=True):
        product += (factor - float(change @ product) / float(step @ change)) * step
    return product
