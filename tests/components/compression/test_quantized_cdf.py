import math
import statistics

import numpy as np

from components.compression import quantized_cdf
from components.compression.quantized_cdf import LOGISTIC, NORMAL, TOTAL


def test_the_tables_are_the_distribution_functions():
    d = np.linspace(-20, 20, 4001)
    np.testing.assert_allclose(LOGISTIC(d) / TOTAL, 1 / (1 + np.exp(-d)), atol=1e-4)
    cdf = statistics.NormalDist().cdf
    np.testing.assert_allclose(NORMAL(d) / TOTAL, [cdf(x) for x in d], atol=1e-4)


def test_the_tables_never_fall():
    d = np.sort(np.random.default_rng(0).uniform(-20, 20, 100_000))
    for table in (LOGISTIC, NORMAL):
        assert (np.diff(table(d)) >= 0).all()


def test_every_symbol_has_a_count_whatever_the_mass():
    symbols = np.arange(257)
    for mass in (np.zeros(257, np.int64), np.full(257, TOTAL), symbols * (TOTAL // 256)):
        counts = quantized_cdf.cumulative(mass, symbols, 256)
        assert counts[0] == 0
        assert counts[-1] == TOTAL
        assert (np.diff(counts) >= 1).all()


def test_the_symbol_of_every_position_is_found():
    for count in (1, 2, 5, 8):
        ends = np.sort(np.random.default_rng(count).choice(TOTAL - 1, count - 1, replace=False) + 1)
        counts = np.array([0, *ends, TOTAL])
        positions = np.unique(np.concatenate([counts[:-1], counts[1:] - 1]))
        found, starts, sizes = quantized_cdf.find(
            lambda s, c=counts: c[np.minimum(s, len(c) - 1)], count, positions
        )
        assert (found == np.searchsorted(counts, positions, side="right") - 1).all()
        assert (starts == counts[found]).all()
        assert (starts + sizes == counts[found + 1]).all()


def test_the_distributions_may_have_different_numbers_of_symbols():
    counts = np.array([3, 7])

    def below(symbols):
        return quantized_cdf.cumulative(symbols * (TOTAL // 8), symbols, counts)

    found, _, sizes = quantized_cdf.find(below, counts, np.array([TOTAL - 1, TOTAL - 1]))
    assert found.tolist() == [2, 6]
    assert (sizes > 0).all()
    assert math.isclose(TOTAL, 1 << quantized_cdf.PRECISION)
