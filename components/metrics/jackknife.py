"""The jackknife: the standard error of an estimate, from the same estimate without some examples.

Efron and Stein (1981), "The jackknife estimate of variance". Nothing is drawn, so that the standard
error is the same in every evaluation.
"""

from collections.abc import Sequence

import numpy as np


def standard_error(*estimates: Sequence[float] | np.ndarray) -> float:
    """The standard error of an estimate from independent sets of examples.

    Args:
      *estimates: for each set, the estimates without one of its equal groups at a time, shape
        [groups], with two groups or more.

    Returns:
      In the unit of the estimates.
    """
    # The sets are independent, so the variances that they cause are added:
    # (G - 1) / G Σ_g (θ_-g - mean θ_-g)^2.
    variances = [(len(each) - 1) * np.var(np.asarray(each, np.float64)) for each in estimates]
    return float(np.sqrt(sum(variances)))
