import math

import numpy as np
import pytest

from components.metrics.mean import Mean
from pipeline.evaluate.metrics import METRICS
from pipeline.evaluate.report import figure_table

MEANS = {name: Mean(-1234.5678, 0.25) for name in METRICS}


def test_the_table_has_all_figures_in_their_order():
    rows = figure_table.table(dict(reversed(MEANS.items())))
    assert [row["title"] for row in rows] == [metric.title for metric in METRICS.values()]
    (elbo,) = figure_table.table({"elbo": Mean(-30.0, 0.5)})
    assert (elbo["mean"], elbo["interval"]) == ("−30.00", "−30.50 to −29.50")
    assert elbo["unit"] == "nats per example"
    (accuracy,) = figure_table.table({"knn_accuracy": Mean(0.875, 0.03125)})
    assert accuracy["interval"] == "0.8438 to 0.9062"
    (recall,) = figure_table.table({"recall": Mean.of_proportion(np.zeros(10_000))})
    assert (recall["mean"], recall["half_width"]) == ("0.0000", "± 0.0002")
    assert recall["interval"] == "0.0000 to 0.0004"


def test_a_figure_without_an_interval_says_so():
    (row,) = figure_table.table({"psnr": Mean(-0.0001, math.inf)})
    assert (row["mean"], row["half_width"], row["interval"]) == ("0.00", "", "none")


def test_the_headlines_are_few_and_the_likelihood_is_first():
    rows = figure_table.headlines(MEANS)
    assert len(rows) == 5
    assert rows[0]["title"] == "negative log-likelihood"


@pytest.mark.parametrize(
    ("value", "text"),
    [(-15431.07, "−15,431"), (1234.567, "1,234.6"), (12.345, "12.35"), (-1e9, "−1,000,000,000")],
)
def test_large_headlines_have_few_digits(value, text):
    (row,) = figure_table.headlines({"elbo": Mean(value, 1021.17)})
    assert row["mean"] == text
    assert row["half_width"].startswith("± 1,021")
