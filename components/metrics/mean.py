"""Means over examples, with intervals."""

import dataclasses

import numpy as np

_Z_95 = 1.959963984540054  # the normal distribution's 97.5 % quantile


@dataclasses.dataclass(frozen=True)
class Mean:
    """A mean over examples.

    Attributes:
      value: the mean.
      half_width: of its 95 % interval, from the examples' standard deviation.
    """

    value: float
    half_width: float

    @staticmethod
    def of(values: np.ndarray) -> "Mean":
        values = values.astype(np.float64)
        if len(values) < 2:
            return Mean(float(values.mean()), float("inf"))
        deviation = values.std(ddof=1) / np.sqrt(len(values))
        return Mean(float(values.mean()), float(_Z_95 * deviation))
