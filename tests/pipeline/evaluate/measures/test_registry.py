import collections

from pipeline.evaluate.measures import registry
from pipeline.evaluate.metrics import METRICS


def test_every_metric_has_one_measure():
    names = collections.Counter(name for measure in registry.MEASURES for name in measure.names)
    assert names == dict.fromkeys(METRICS, 1)


def test_all_metrics_are_measured_or_the_reason_is_given(subject):
    measured = registry.measure_all(subject())
    assert measured.means.keys() | measured.not_measured.keys() == METRICS.keys()
    assert measured.means.keys() & measured.not_measured.keys() == set()
    assert measured.by_example.keys() <= measured.means.keys()


def test_only_what_is_asked_for_is_measured(subject):
    measured = registry.measure_all(subject(metrics=("knn_accuracy",)))
    assert list(measured.means) == ["elbo", "rate", "distortion", "knn_accuracy"]
    assert measured.not_measured == {}
    assert "psnr_examples" not in measured.protocol
