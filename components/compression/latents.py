"""Normal variables on a grid, and the flow of a prior on that grid.

Latents are multiples of a step. A posterior draws them, and the flow of the prior takes them to
variables that are standard normal. The flow does not map the grid to itself, so each coupling,
which is y = x e^s + t given the other half, is coded by local bits-back coding (Ho, Lohn and
Abbeel, 2019): y is taken from the message, near the value for x; then x is put on it, near the
value for y. What that takes in the mean is the logarithm of the density's change, -s, exactly: a
coupling is linear in x.
"""

from typing import Protocol

import numpy as np

from components.compression import tables
from components.compression.ans import Message
from components.compression.tables import NORMAL, PRECISION

# Half the window of a variable, in deviations. All symbols of a window have a count, so that a wide
# one would now and then draw a latent that is unlikely under every distribution.
_REACH = 5.5
# Half the window of the prior. The distance of latents beyond it is coded in digits, all equally
# likely: images that the model does not fit may have such latents.
_PRIOR_REACH = 16
_DIGITS, _DIGIT_BITS = 3, 11
# Of the noise in a coupling, in steps: a normal variable of this deviation is smooth on the grid,
# and its effect on the densities of later couplings is small.
_NOISE_STEPS = 3.0
# Posteriors that are narrower than this are within one step.
_LEAST_STEPS = 0.1


class RangeError(Exception):
    """Latents are so far from all that the prior knows that they cannot be coded."""


class GridNormal:
    """Normal variables that are rounded to multiples of a step, one for each of N images.

    A variable has a window around its mean, in which every multiple has a count.

    Args:
      means: float64 [N].
      deviations: standard deviations, float64 [N].
      step: the step of the grid.
      halves: half the windows, in steps, int64 [N]; None for those of `half_windows`.
    """

    def __init__(
        self,
        means: np.ndarray,
        deviations: np.ndarray,
        step: float,
        halves: np.ndarray | None = None,
    ):
        self._means = means
        self._deviations = np.maximum(deviations, _LEAST_STEPS * step)
        self._step = step
        if halves is None:
            halves = half_windows(self._deviations, step)
        self._first = np.floor(means / step).astype(np.int64) - halves
        self._counts = 2 * halves + 2

    def pop(self, message: Message) -> np.ndarray:
        """Takes variables from the first N lanes, in steps, int64 [N]."""
        positions = message.positions(len(self._means), PRECISION)
        symbols, starts, sizes = tables.find(self._below, self._counts, positions)
        message.pop(starts, sizes, PRECISION)
        return symbols + self._first

    def push(self, message: Message, values: np.ndarray) -> None:
        """Puts variables, in steps, on the first N lanes: what `pop` undoes.

        Raises:
          RangeError: a value is outside of its window.
        """
        symbols = values - self._first
        if (symbols < 0).any() or (symbols >= self._counts).any():
            raise RangeError
        starts = self._below(symbols)
        message.push(starts, self._below(symbols + 1) - starts, PRECISION)

    def _below(self, symbols: np.ndarray) -> np.ndarray:
        """The cumulative counts of symbols [N], int64."""
        edges = ((symbols + self._first) - 0.5) * self._step
        mass = NORMAL((edges - self._means) / self._deviations)
        return tables.cumulative(mass, symbols, self._counts)


def half_windows(deviations: np.ndarray, step: float) -> np.ndarray:
    """Half the windows that hold nearly all mass of normal variables, in steps, int64 [N]."""
    return np.ceil(_REACH * deviations / step).astype(np.int64) + 1


def standard_normal(count: int, step: float) -> GridNormal:
    """The prior in the base space, for one latent of `count` images."""
    halves = np.full(count, round(_PRIOR_REACH / step))
    return GridNormal(np.zeros(count), np.ones(count), step, halves)


class Coupling(Protocol):
    """A coupling of a flow: y = x e^s + t for some latents, given the others.

    Attributes:
      moved: indices of the latents that it moves.
    """

    moved: range

    def amounts(self, latents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """s and t given latents [N, latents], of which it reads only those that it does not move.

        Both are float64 [N, moved].
        """


def push_prior(message: Message, z: np.ndarray, couplings: list[Coupling], step: float) -> None:
    """Puts latents on the first N lanes under the prior.

    Args:
      message: the message.
      z: latents in steps, int64 [N, latents].
      couplings: of the flow from the latents to the base space, in order.
      step: the step of the grid.

    Raises:
      RangeError: latents cannot be coded.
    """
    u = z.copy()
    for coupling in couplings:
        scales, shifts = coupling.amounts(u * step)
        for number, index in enumerate(coupling.moved):
            pair = _Pair(scales[:, number], shifts[:, number], step)
            x = u[:, index].copy()
            u[:, index] = pair.y_given(x).pop(message)
            pair.x_given(u[:, index]).push(message, x)
    for index in range(u.shape[1]):
        _push_standard(message, u[:, index], step)


def pop_prior(
    message: Message, shape: tuple[int, int], couplings: list[Coupling], step: float
) -> np.ndarray:
    """Takes latents of a shape (N, latents) from the first N lanes: what `push_prior` undoes."""
    u = np.empty(shape, np.int64)
    for index in reversed(range(shape[1])):
        u[:, index] = _pop_standard(message, shape[0], step)
    for coupling in reversed(couplings):
        scales, shifts = coupling.amounts(u * step)
        for number, index in reversed(list(enumerate(coupling.moved))):
            pair = _Pair(scales[:, number], shifts[:, number], step)
            y = u[:, index].copy()
            u[:, index] = pair.x_given(y).pop(message)
            pair.y_given(u[:, index]).push(message, y)
    return u


def _push_standard(message: Message, u: np.ndarray, step: float) -> None:
    """Puts a latent of the base space, in steps, on the first N lanes."""
    half = round(_PRIOR_REACH / step)
    beyond = np.abs(u) - half
    if (beyond >> (_DIGITS * _DIGIT_BITS) > 0).any():
        raise RangeError
    sizes = _digit_sizes(beyond >= 0)
    for digit in range(_DIGITS):
        starts = np.maximum(beyond, 0) >> (digit * _DIGIT_BITS) & ((1 << _DIGIT_BITS) - 1)
        message.push(starts, sizes, _DIGIT_BITS)
    standard_normal(len(u), step).push(message, np.clip(u, -half, half))


def _pop_standard(message: Message, count: int, step: float) -> np.ndarray:
    """Takes a latent of the base space from the first N lanes: what `_push_standard` undoes."""
    half = round(_PRIOR_REACH / step)
    u = standard_normal(count, step).pop(message)
    is_beyond = np.abs(u) >= half
    sizes = _digit_sizes(is_beyond)
    for digit in reversed(range(_DIGITS)):
        starts = np.where(is_beyond, message.positions(count, _DIGIT_BITS), 0)
        message.pop(starts, sizes, _DIGIT_BITS)
        u += np.sign(u) * (starts << (digit * _DIGIT_BITS))
    return u


def _digit_sizes(is_beyond: np.ndarray) -> np.ndarray:
    """The sizes of the intervals of digits: latents within the prior's window have no digits."""
    return np.where(is_beyond, 1, 1 << _DIGIT_BITS)


class _Pair:
    """x and y = x e^s + t of one latent, each given the other and noise.

    The noise has at least `_NOISE_STEPS` on either side, and what one window holds is in the other.
    """

    def __init__(self, scale: np.ndarray, shift: np.ndarray, step: float):
        self._factor, self._shift, self._step = np.exp(scale), shift, step
        noise = _NOISE_STEPS * step
        self._x_deviations = noise * np.maximum(1.0, 1.0 / self._factor)
        self._y_deviations = self._x_deviations * self._factor
        self._y_halves = half_windows(self._y_deviations, step)
        self._x_halves = np.ceil((self._y_halves + 2) / self._factor).astype(np.int64) + 2

    def y_given(self, x: np.ndarray) -> GridNormal:
        """y near the value for x, in steps [N]."""
        means = x * self._step * self._factor + self._shift
        return GridNormal(means, self._y_deviations, self._step, self._y_halves)

    def x_given(self, y: np.ndarray) -> GridNormal:
        """x near the value for y, in steps [N]."""
        means = (y * self._step - self._shift) / self._factor
        return GridNormal(means, self._x_deviations, self._step, self._x_halves)


def pop_posterior(
    message: Message, means: np.ndarray, deviations: np.ndarray, step: float
) -> np.ndarray:
    """Takes latents from the first N lanes under their posteriors.

    Args:
      message: the message.
      means: float64 [N, latents].
      deviations: standard deviations, float64 [N, latents].
      step: the step of the grid.

    Returns:
      The latents in steps, int64 [N, latents].
    """
    z = np.empty(means.shape, np.int64)
    for index in range(means.shape[1]):
        z[:, index] = GridNormal(means[:, index], deviations[:, index], step).pop(message)
    return z


def push_posterior(
    message: Message, z: np.ndarray, means: np.ndarray, deviations: np.ndarray, step: float
) -> None:
    """Puts latents on the first N lanes under their posteriors: what `pop_posterior` undoes.

    Raises:
      RangeError: a latent is outside of the window of its posterior.
    """
    for index in reversed(range(means.shape[1])):
        normal = GridNormal(means[:, index], deviations[:, index], step)
        normal.push(message, z[:, index])
