"""The metrics of each class."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from components.base import console
from components.metrics.mean import Mean
from components.sources.source import UNLABELLED
from pipeline.evaluate.metrics import METRICS


@dataclasses.dataclass(frozen=True)
class ClassMean:
    """The mean of a metric over the examples of a class.

    Attributes:
      mean: the mean.
      examples: number of examples.
    """

    mean: Mean
    examples: int


def means_by_class(
    by_example: Mapping[str, np.ndarray], labels: np.ndarray, class_names: Sequence[str]
) -> dict[str, dict[str, ClassMean]]:
    """The means of metrics over the examples of each class.

    Args:
      by_example: metrics of N examples, float64 [N], by name; NaN where an example is left out.
      labels: of the examples, integers, shape [N].
      class_names: names of the labels, by label. The class `unlabelled` is not a label.

    Returns:
      The means by metric and by name of the class, for classes with examples; nothing if there are
      fewer than two classes.
    """
    classes = [label for label, name in enumerate(class_names) if name != UNLABELLED]
    if len(classes) < 2:
        return {}
    rows = {label: np.flatnonzero(labels == label) for label in classes}
    means: dict[str, dict[str, ClassMean]] = {}
    for name, values in by_example.items():
        means[name] = {}
        mean_of = Mean.of_proportion if METRICS[name].is_proportion else Mean.of
        for label, members in rows.items():
            scored = values[members][~np.isnan(values[members])]
            if len(scored):
                mean = mean_of(scored)
                means[name][console.visible(class_names[label])] = ClassMean(mean, len(scored))
    return means
