"""Active units: the number of latent dimensions that the model uses.

Burda et al. (2016), "Importance Weighted Autoencoders", call a dimension active if the variance of
its posterior mean over the examples exceeds 0.01. The rate is used here instead: it is a term of
the ELBO, so it has a unit (nats), and it also covers the posterior's variance.
"""

import numpy as np

ACTIVE_NATS = 0.01


def active_units(rates: np.ndarray, threshold: float = ACTIVE_NATS) -> int:
    """The number of latent dimensions whose mean rate exceeds a threshold.

    Args:
      rates: rate of each latent dimension, averaged over examples, in nats, shape [latents].
      threshold: in nats per example.
    """
    return int(np.count_nonzero(rates > threshold))
