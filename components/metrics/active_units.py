"""Active units: the number of latent dimensions that tell images apart.

A dimension is active if the variance of its posterior mean over the examples, Var_x(E_q(z|x)[z]),
exceeds 0.01 (Burda et al. 2016, "Importance Weighted Autoencoders", section 5). The threshold is
meant for latents of the scale of the prior N(0, 1).
"""

import numpy as np

ACTIVE_VARIANCE = 0.01


def active_units(means: np.ndarray) -> int:
    """The number of active latent dimensions; 0 for a single example.

    Args:
      means: the posterior means of at least one example, shape [N, latents].
    """
    variances = means.var(axis=0, dtype=np.float64)
    return int(np.count_nonzero(variances > ACTIVE_VARIANCE))
