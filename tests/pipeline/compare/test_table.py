import math

import numpy as np

from components.metrics.mean import Mean
from pipeline.compare import table
from pipeline.compare.differences import Difference, compare
from tests.pipeline.compare.made_runs import made_run

HARD = np.linspace(-300, -200, 101)


def test_the_table_shows_means_differences_and_settings():
    runs = [
        made_run("demo", HARD, config={"latents": 2}),
        made_run("wide", HARD + 2, config={"latents": 32}),
    ]
    text = table.render(compare(runs))
    assert "ELBO, nats per example\n" in text
    assert "  demo                          -250.00 ± 5.71\n" in text
    assert "  wide                          -248.00 ± 5.71  +2.00 ± 0.00 * (paired)\n" in text
    assert "Settings that differ: demo | wide\n  latents                   2 | 32" in text
    assert "note:" not in text


def test_a_line_that_is_cut_keeps_the_mark():
    runs = [made_run("a", HARD), made_run("b", HARD - 1e9, images="others")]
    line = next(each for each in table.render(compare(runs)).splitlines() if each[:4] == "  b ")
    assert line.endswith("…")
    assert " * (" in line


def test_no_line_is_longer_than_80_characters():
    long = "a_name_that_is_longer_than_what_a_terminal_shows_of_it" * 2
    runs = [
        made_run(f"{long}{n}", HARD + 1e7 * n, config={"x": "y" * 100 * (n + 1)}) for n in range(5)
    ]
    lines = table.render(compare(runs)).splitlines()
    assert max(map(len, lines)) == table.WIDTH
    assert all(line == line.rstrip() for line in lines)


def test_a_metric_without_an_interval_has_a_bare_difference():
    difference = Difference(Mean(-2.0, math.inf), is_paired=False)
    assert table.change(difference, 0) == "-2"


def test_what_was_not_paired_is_said():
    runs = [made_run("a", HARD), made_run("b", HARD - 1, images="others")]
    text = table.render(compare(runs))
    assert "-1.00 ± 8.08 (not paired)\n" in text
    assert "\nnote: b was evaluated on other images than a" in text
