"""The mean of a metric over examples, with a confidence interval."""

import dataclasses
import math

import numpy as np

_Z_95 = 1.959963984540054  # The 97.5 % quantile of the standard normal distribution.


@dataclasses.dataclass(frozen=True)
class Mean:
    """A mean over examples, in the unit of the values.

    Attributes:
      value: the mean.
      half_width: half the width of its 95 % confidence interval; infinite for a single example.
    """

    value: float
    half_width: float

    def __str__(self) -> str:
        """The mean, and the half-width if there is one: `-12.34 ± 0.56`; never `-0.00`."""
        if math.isinf(self.half_width):
            return f"{self.value:z.2f}"
        return f"{self.value:z.2f} ± {self.half_width:.2f}"

    @staticmethod
    def of(values: np.ndarray) -> "Mean":
        """The mean of one value per example, shape [N], N > 0."""
        values = values.astype(np.float64)
        if len(values) < 2:
            return Mean(float(values.mean()), float("inf"))
        # By the central limit theorem, the interval is mean ± z s / √N.
        standard_error = values.std(ddof=1) / np.sqrt(len(values))
        return Mean.estimated(values.mean(), standard_error)

    @staticmethod
    def estimated(value: float, standard_error: float) -> "Mean":
        """An estimate with a standard error, whose errors are taken for normal."""
        return Mean(float(value), float(_Z_95 * standard_error))
