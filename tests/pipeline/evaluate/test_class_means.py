import math

import numpy as np
import pytest

from components.metrics.mean import Mean
from pipeline.evaluate.class_means import ClassMean, means_by_class


def test_means_by_class_are_those_of_the_labelled_examples_with_values():
    values = np.array([1.0, 3.0, 5.0, np.nan, 7.0, 9.0])
    labels = np.array([0, 0, 1, 1, 2, 3])
    means = means_by_class({"psnr": values}, labels, ["a", "b\x1b", "unlabelled", "c", "none"])
    assert means == {
        "psnr": {
            "a": ClassMean(Mean.of(values[:2]), 2),
            r"b\x1b": ClassMean(Mean(5.0, math.inf), 1),
            "c": ClassMean(Mean(9.0, math.inf), 1),
        }
    }


def test_fractions_have_the_intervals_of_proportions():
    values, labels = np.array([1.0, 1.0, 0.0, np.nan, 1.0]), np.array([0, 0, 0, 1, 1])
    means = means_by_class({"knn_accuracy": values}, labels, ["a", "b"])
    assert means == {
        "knn_accuracy": {
            "a": ClassMean(Mean.of_proportion(values[:3]), 3),
            "b": ClassMean(Mean.of_proportion(values[4:]), 1),
        }
    }


@pytest.mark.parametrize("names", [[], ["a"], ["a", "unlabelled"]])
def test_one_class_has_no_means_by_class(names):
    assert means_by_class({"psnr": np.ones(4)}, np.zeros(4, int), names) == {}
