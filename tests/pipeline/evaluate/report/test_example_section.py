import dataclasses
import math

import numpy as np
import pytest

from components.metrics.mean import Mean
from pipeline.evaluate.class_means import ClassMean
from pipeline.evaluate.report import example_section
from pipeline.evaluate.report.subject import Strip
from tests.components.figures.test_page_pictures import picture
from tests.pipeline.evaluate.report.subjects import report_subject


def test_the_extremes_are_the_examples_of_lowest_and_highest_elbo(example_set, model_dir):
    elbo = np.random.default_rng(0).permutation(60).astype(np.float64)
    elbo[7] = math.nan
    subject = report_subject(example_set, model_dir, elbo=elbo)
    found = example_section.extremes(subject)
    order = np.argsort(elbo)[:-1].tolist()  # NaN is sorted to the end.
    ids = subject.examples.ids
    assert [each.id for each in found.worst] == [ids[row] for row in [7, *order[:8]]]
    assert [each.id for each in found.best] == [ids[row] for row in order[:-10:-1]]
    assert found.best[0].value == f"{elbo[order[-1]]:.1f}"
    pixels = picture(found.best[0].image.uri)
    assert (pixels[:28, :, 0] == subject.examples.images[order[-1], ..., 0]).all()
    reconstruction = subject.vae(subject.examples.images[order[-1:]] / np.float32(255)).numpy()
    assert pixels[-28:, :, 0] == pytest.approx(255 * reconstruction[0, ..., 0], abs=1)


def test_no_example_is_both_the_worst_and_the_best(example_set, model_dir):
    few = report_subject(example_set, model_dir, elbo=np.arange(11.0))
    found = example_section.extremes(few)
    assert (len(found.worst), len(found.best)) == (9, 2)
    single = dataclasses.replace(few, elbo=np.zeros(1))
    assert not example_section.extremes(single).best


def test_thumbnails_are_of_all_classes_and_of_all_strips(example_set, model_dir):
    images = np.arange(2 * 9, dtype=np.uint8).reshape(2, 1, 9, 1, 1, 1)
    strips = [Strip(label, each) for label, each in enumerate(images)]
    subject = report_subject(example_set, model_dir, samples=strips)
    names, pictures = zip(*example_section.thumbnails(subject), strict=True)
    assert names == ("test examples", "reconstructions", "samples")
    # The first of each strip, then the second of each.
    samples = picture(pictures[2].uri)[0, ::2, 0]
    assert samples[:4].tolist() == [0, 9, 1, 10]
    assert picture(pictures[0].uri).shape[1] == 14 * 28 + 13 * 2


def test_the_rows_of_classes_place_their_intervals_on_one_line():
    means = {
        "10": ClassMean(Mean(-10.0, 1.0), 5),
        "2": ClassMean(Mean(-20.0, math.inf), 1),
        "9": ClassMean(Mean(-15.0, 2.0), 4),
    }
    two, nine, ten = example_section.class_rows(means)
    assert [row["name"] for row in (two, nine, ten)] == ["2", "9", "10"]
    assert (two["mean"], two["half_width"], two["count"]) == ("−20.00", "", "1")
    # From -20 to -9.
    assert (two["left"], two["width"]) == ("0.0", "0.0")
    assert float(nine["left"]) == pytest.approx(96 * 3 / 11, abs=0.1)
    assert float(ten["left"]) + float(ten["width"]) == pytest.approx(96, abs=0.1)


def test_a_single_class_has_no_rows():
    assert example_section.class_rows({"a": ClassMean(Mean(1.0, 1.0), 2)}) == []
    equal = {name: ClassMean(Mean(1.0, 0.0), 2) for name in "ab"}
    assert [row["left"] for row in example_section.class_rows(equal)] == ["0.0", "0.0"]
