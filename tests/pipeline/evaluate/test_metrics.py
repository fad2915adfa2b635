from pipeline.evaluate.metrics import ALWAYS, METRICS


def test_the_metrics_that_are_always_measured_come_first():
    assert tuple(METRICS)[: len(ALWAYS)] == ALWAYS


def test_fractions_of_examples_are_proportions_and_other_fractions_are_not():
    proportions = {name for name, metric in METRICS.items() if metric.is_proportion}
    assert proportions == {"knn_accuracy", "linear_probe_accuracy", "precision", "recall"}


def test_titles_are_unique():
    assert len({metric.title for metric in METRICS.values()}) == len(METRICS)
