from pipeline.evaluate.metrics import ALWAYS, METRICS


def test_the_metrics_that_are_always_measured_come_first():
    assert tuple(METRICS)[: len(ALWAYS)] == ALWAYS


def test_titles_are_unique():
    assert len({metric.title for metric in METRICS.values()}) == len(METRICS)
