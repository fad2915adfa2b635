"""Latents on a message: under their posterior, and under a prior with a flow.

Latents are multiples of a step. A posterior draws them, and the flow of the prior takes them to
variables that are standard normal. The flow does not map the grid to itself, so each coupling,
which is y = x e^s + t given the other half, is coded by local bits-back coding (Ho, Lohn and
Abbeel, 2019): y is taken from the message, near the value for x; then x is put on it, near the
value for y. The mean cost is exactly -s, the logarithm of the change of density, since a coupling
is linear in x.
"""

from typing import Protocol

import numpy as np

from components.compression.ans import Message
from components.compression.grid_normal import GridNormal, TailedNormal, half_windows

# Of the noise in a coupling, in steps: a normal variable of this deviation is smooth on the grid,
# and its effect on the densities of later couplings is small.
_NOISE_STEPS = 3.0


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
            # Popping y takes bits; pushing x given y returns them, except for -s.
            x = u[:, index].copy()
            u[:, index] = pair.y_given(x).pop(message)
            pair.x_given(u[:, index]).push(message, x)
    for index in range(u.shape[1]):
        _standard(len(u), step).push(message, u[:, index])


def pop_prior(
    message: Message, shape: tuple[int, int], couplings: list[Coupling], step: float
) -> np.ndarray:
    """Takes latents of a shape (N, latents) from the first N lanes: what `push_prior` undoes."""
    u = np.empty(shape, np.int64)
    for index in reversed(range(shape[1])):
        u[:, index] = _standard(shape[0], step).pop(message)
    for coupling in reversed(couplings):
        scales, shifts = coupling.amounts(u * step)
        for number, index in reversed(list(enumerate(coupling.moved))):
            pair = _Pair(scales[:, number], shifts[:, number], step)
            y = u[:, index].copy()
            u[:, index] = pair.x_given(y).pop(message)
            pair.y_given(u[:, index]).push(message, y)
    return u


def _standard(count: int, step: float) -> TailedNormal:
    """The prior in the base space, for one latent of `count` images."""
    return TailedNormal(np.zeros(count), np.ones(count), step)


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
        # Wide enough for every x whose y is in its window, after rounding at both ends.
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
