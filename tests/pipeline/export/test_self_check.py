import math

import numpy as np
import pytest

from components.base.errors import WorkError
from pipeline.export import self_check
from pipeline.export.self_check import check, latency, relative_difference


def arrays(**values) -> dict[str, np.ndarray]:
    return {name: np.array(value, np.float32) for name, value in values.items()}


def test_a_difference_is_relative_to_the_largest_number_of_its_output():
    expected = arrays(mean=[1, -4], images=[0.5, 0.25])
    assert relative_difference(expected, expected) == 0
    found = arrays(mean=[1.5, -4], images=[0.5, 0.25])
    assert relative_difference(found, expected) == pytest.approx(0.5 / 4)
    found = arrays(mean=[1, -4], images=[0.25, 0.25])
    assert relative_difference(found, expected) == pytest.approx(0.25 / 0.5)


def test_a_term_of_the_elbo_is_relative_to_the_elbo():
    expected = arrays(elbo=[-100], rate=[0.1], distortion=[99.9])
    found = expected | arrays(rate=[0.2])
    assert relative_difference(found, expected) == pytest.approx(0.1 / 100)


def test_outputs_of_zeros_have_an_absolute_difference():
    assert relative_difference(arrays(mean=[0.5]), arrays(mean=[0])) == 0.5
    assert relative_difference(arrays(mean=[]), arrays(mean=[])) == 0


@pytest.mark.parametrize(
    "found",
    [{}, arrays(images=[1]), arrays(mean=[[1]]), {"mean": np.array([1.0])}],
    ids=["none", "other", "shape", "type"],
)
def test_another_output_is_infinitely_far(found):
    assert relative_difference(found, arrays(mean=[1])) == math.inf


@pytest.mark.parametrize("difference", [1.1e-5, math.inf, math.nan])
def test_a_difference_beyond_rounding_is_an_error_of_one_line(difference):
    check("encoder.onnx", 0.9e-5, reference="the SavedModel")
    with pytest.raises(WorkError, match=r"encoder.onnx differs from the SavedModel by") as caught:
        check("encoder.onnx", difference, reference="the SavedModel")
    assert "\n" not in str(caught.value)


def test_no_number_is_a_difference_that_fails():
    found = arrays(mean=[1, math.nan])
    assert math.isnan(relative_difference(found, arrays(mean=[1, 2])))


@pytest.mark.parametrize(
    ("durations", "expected", "calls"),
    [
        # The first call prepares the others.
        ([0.9, 0.04, 0.03, 0.08], 40, 4),
        ([5], 5000, 1),
        ([0.01] * 21, 10, 21),
    ],
)
def test_a_latency_is_the_median_of_calls_of_a_second(durations, expected, calls, monkeypatch):
    times = [0.0]
    monkeypatch.setattr(self_check.time, "perf_counter", lambda: times[-1])
    remaining = list(durations)

    def call() -> None:
        times.append(times[-1] + remaining.pop(0))

    assert latency(call) == pytest.approx(expected)
    assert len(times) - 1 == calls
