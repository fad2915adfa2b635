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
      ends: the ends of the interval; None if the mean is in the middle of it.
    """

    value: float
    half_width: float
    ends: tuple[float, float] | None = None

    @property
    def interval(self) -> tuple[float, float]:
        """The ends of the interval."""
        return self.ends or (self.value - self.half_width, self.value + self.half_width)

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
    def of_proportion(values: np.ndarray) -> "Mean":
        """The fraction of examples with the value true or 1, shape [N], N > 0.

        The interval is Wilson's (1927, "Probable inference, the law of succession, and statistical
        inference"). It has a width, and stays within [0, 1], where all examples are alike: there,
        the interval of `of` is a point.
        """
        count, value = len(values), float(values.mean(dtype=np.float64))
        # The ends are the fractions p whose score test just rejects the one that was found:
        # (value - p)^2 = z^2 p (1 - p) / N.
        square = _Z_95**2 / count
        middle = (value + square / 2) / (1 + square)
        half_width = math.sqrt(square * (value * (1 - value) + square / 4)) / (1 + square)
        # Rounding must not leave the value outside.
        ends = min(value, max(0.0, middle - half_width)), max(value, min(1.0, middle + half_width))
        return Mean(value, half_width, ends)

    @staticmethod
    def estimated(value: float, standard_error: float) -> "Mean":
        """An estimate with a standard error, assuming that its error is normally distributed."""
        return Mean(float(value), float(_Z_95 * standard_error))
