import math

import numpy as np
import pytest

from components.compression.grid_normal import RangeError
from components.compression.latents import pop_posterior, pop_prior, push_posterior, push_prior
from tests.components.compression.coded_models import bits, filled

STEP = 2.0**-8
LANES = 500


class Affine:
    """A coupling that scales and shifts one latent by the other."""

    def __init__(self, kept: int, moved: int):
        self._kept, self.moved = kept, range(moved, moved + 1)

    def amounts(self, latents):
        kept = latents[:, self._kept : self._kept + 1]
        return np.tanh(kept), 0.5 * kept


COUPLINGS = [Affine(0, 1), Affine(1, 0)]


def test_latents_far_from_the_prior_come_back():
    values = np.array([[-(1 << 30), 4096], [-4096, 4097], [-4095, 0], [5_000_000, 1]])
    z = np.repeat(values, LANES // 4, axis=0)
    message = filled(LANES)
    states = message.states.copy()
    push_prior(message, z, [], STEP)
    assert (pop_prior(message, z.shape, [], STEP) == z).all()
    assert (message.states == states).all()
    with pytest.raises(RangeError):
        push_prior(message, z << 40, [], STEP)


@pytest.mark.parametrize("couplings", [[], COUPLINGS])
def test_latents_come_back_and_take_the_rate(couplings):
    rng = np.random.default_rng(0)
    means, deviations = rng.normal(0, 0.5, (LANES, 2)), np.full((LANES, 2), 0.3)
    message = filled(LANES)
    before, states = bits(message), message.states.copy()
    z = pop_posterior(message, means, deviations, STEP)
    push_prior(message, z, couplings, STEP)
    # The rate, at the drawn latents: log q(z|x) - log p(z), with the flow in closed form.
    u, log_determinant = z * STEP, 0.0
    for coupling in couplings:
        scale, shift = coupling.amounts(u)
        u = u.copy()
        u[:, coupling.moved.start] = u[:, coupling.moved.start] * np.exp(scale[:, 0]) + shift[:, 0]
        log_determinant = log_determinant + scale[:, 0]
    constant = math.log(2 * math.pi)
    prior = (-0.5 * (u**2 + constant)).sum(1) + log_determinant
    noise = (z * STEP - means) / deviations
    posterior = (-0.5 * (noise**2 + constant) - np.log(deviations)).sum(1)
    rate = (posterior - prior).sum() / math.log(2)
    assert (bits(message) - before) / LANES == pytest.approx(rate / LANES, abs=0.1)
    again = pop_prior(message, z.shape, couplings, STEP)
    assert (again == z).all()
    push_posterior(message, again, means, deviations, STEP)
    assert (message.states == states).all()
    message.resize(0)
    assert message.is_initial(message.borrowed, 0)
