import dataclasses
import json
import math

import numpy as np
import pytest

from components.metrics.mean import Mean
from pipeline.compare.differences import Difference, compare
from pipeline.compare.runs import ComparedRun
from tests.pipeline.compare.made_runs import made_run

RNG = np.random.default_rng(0)
HARD = RNG.normal(-240, 30, 500)  # How difficult each image is, for every model.


def elbo_difference(*runs):
    comparison = compare(runs)
    (metric,) = (each for each in comparison.metrics if each.name == "elbo")
    assert metric.differences[0] is None
    return metric.differences[1], comparison.notes


def test_a_paired_difference_is_that_of_each_image():
    better = RNG.normal(1.0, 0.5, 500)
    difference, notes = elbo_difference(made_run("a", HARD), made_run("b", HARD + better))
    expected = Mean.of(better)
    assert notes == []
    assert difference.is_paired
    assert difference.is_clear
    assert difference.mean.value == pytest.approx(expected.value)
    assert difference.mean.half_width == pytest.approx(expected.half_width)
    # The intervals of the means themselves are fifty times as wide.
    assert expected.half_width < 0.05 < 2 < Mean.of(HARD).half_width


def test_runs_on_other_images_are_compared_as_independent_samples():
    first, other = made_run("a", HARD), made_run("b", HARD + 1, images="others")
    difference, (note,) = elbo_difference(first, other)
    assert not difference.is_paired
    assert not difference.is_clear
    half_width = Mean.of(HARD).half_width
    assert difference.mean.value == pytest.approx(1)
    assert difference.mean.half_width == pytest.approx(math.sqrt(2) * half_width)
    assert note.startswith("b was evaluated on other images than a: ")


def test_an_interval_of_95_percent_holds_the_true_difference_19_times_of_20():
    rng, held = np.random.default_rng(1), 0
    for _ in range(400):
        hard = rng.normal(0, 30, 200)
        found, _ = elbo_difference(
            made_run("a", hard), made_run("b", hard + rng.normal(1.0, 2.0, 200))
        )
        held += abs(found.mean.value - 1.0) <= found.mean.half_width
    assert 0.92 <= held / 400 <= 0.98


def test_an_evaluation_of_an_earlier_version_is_not_paired():
    old = made_run("old", HARD, has_examples=False)
    difference, (note,) = elbo_difference(old, made_run("new", HARD))
    assert not difference.is_paired
    assert note.startswith("old was evaluated by an earlier version, ")


def test_nats_of_two_likelihoods_have_no_difference():
    known = np.full(500, 20.0)
    first = made_run("a", HARD, psnr=known)
    other = made_run("b", HARD, likelihood="binarized", psnr=known + 1)
    comparison = compare([first, other])
    by_name = {each.name: each.differences[1] for each in comparison.metrics}
    assert by_name["elbo"] is None
    assert by_name["psnr"].mean.value == pytest.approx(1)
    assert comparison.notes[0].startswith("b has the likelihood binarized, and a bernoulli: ")


@pytest.mark.parametrize(
    ("protocol", "names", "note"),
    [
        ({"importance_samples": 50}, {"nll"}, "number of importance samples: no"),
        ({"denoised_corruption": "mask:0.1"}, {"denoised_psnr"}, "noise in the images: no"),
        ({"feature_digest": "b"}, {"fid", "kid"}, "classifier that gives features: no"),
        ({"samples": 100}, {"fid"}, "number of samples: no difference of fid"),
    ],
)
def test_values_of_another_protocol_have_no_difference_and_a_note_says_so(protocol, names, note):
    measured = dict.fromkeys(("nll", "denoised_psnr", "fid", "kid"), -HARD)
    same = {
        "importance_samples": 10,
        "denoised_corruption": "gaussian:0.1",
        "feature_digest": "a",
        "samples": 500,
    }

    def run(name: str, protocol: dict) -> ComparedRun:
        made = made_run(name, HARD, **measured)
        changed = dataclasses.replace(made.scores.protocol, **protocol)
        return dataclasses.replace(made, scores=dataclasses.replace(made.scores, protocol=changed))

    first = run("a", same)
    comparison = compare([first, run("b", same)])
    assert all(each.differences[1] for each in comparison.metrics)
    assert comparison.notes == []
    comparison = compare([first, run("b", same | protocol)])
    assert names == {each.name for each in comparison.metrics if each.differences[1] is None}
    (found,) = comparison.notes
    assert found.startswith(f"b and a do not have the same {note}")


def test_images_without_a_value_are_left_out_of_both_runs_alike():
    some = np.where(np.arange(500) % 2, np.nan, 20.0)
    comparison = compare([made_run("a", HARD, psnr=some), made_run("b", HARD, psnr=some + 2)])
    psnr = comparison.metrics[-1].differences[1]
    assert (psnr.mean.value, psnr.mean.half_width, psnr.is_paired) == (2, 0, True)
    others = np.roll(some, 1)
    comparison = compare([made_run("a", HARD, psnr=some), made_run("b", HARD, psnr=others)])
    assert not comparison.metrics[-1].differences[1].is_paired


def test_a_metric_that_one_run_lacks_is_shown_without_a_difference():
    comparison = compare([made_run("a", HARD), made_run("b", HARD, nll=-HARD)])
    (nll,) = (each for each in comparison.metrics if each.name == "nll")
    assert nll.means[0] is None
    assert nll.differences == [None, None]


def test_only_settings_that_differ_are_listed():
    runs = [
        made_run("a", HARD, config={"latents": 2, "widths": [256, 128], "patience": None}),
        made_run("b", HARD, config={"latents": 32, "widths": [256, 128], "seed": 1}),
    ]
    # A run of an earlier version has the setting with the value that it stood for.
    runs.append(made_run("c", HARD, config=runs[0].model.manifest.config | {"head": "factorized"}))
    assert compare(runs).settings == {
        "latents": ["2", "32", "2"],
        "patience": ["none", "-", "none"],
        "seed": ["-", "1", "-"],
    }


def test_the_comparison_is_json():
    comparison = compare([made_run("a", HARD[:1]), made_run("b", HARD[:1] + 1)])
    value = json.loads(json.dumps(comparison.as_json(), allow_nan=False))
    assert value["runs"] == ["a", "b"]
    assert value["metrics"]["elbo"]["differences"] == [
        None,
        {"mean": pytest.approx(1), "half_width_95": None, "is_paired": True},
    ]


@pytest.mark.parametrize(
    ("value", "half_width", "is_clear"),
    [(1.0, 0.9, True), (-1.0, 0.9, True), (1.0, 1.0, False), (5.0, math.inf, False)],
)
def test_a_difference_is_clear_if_its_interval_leaves_out_0(value, half_width, is_clear):
    assert Difference(Mean(value, half_width), is_paired=True).is_clear == is_clear
