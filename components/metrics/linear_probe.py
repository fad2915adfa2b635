"""A linear probe: multinomial logistic regression of the labels on the embeddings.

Its accuracy says how much of the labels a linear classifier finds in the embeddings (Alain and
Bengio 2017, "Understanding intermediate layers using linear classifier probes").
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from components.metrics.lbfgs import minimize
from components.metrics.nearest_neighbors import LabeledVectors
from components.metrics.subsets import evenly_spaced

# From strong to weak. scikit-learn's C is 1 / (examples * penalty).
PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)

# The largest product of the numbers of examples, inputs and classes: a step of the fit takes a few
# tenths of a second.
_MAX_PRODUCTS = 1 << 28


@dataclasses.dataclass(frozen=True)
class LinearProbe:
    """A fitted classifier: one linear function of standardized vectors per label; the largest wins.

    Attributes:
      classes: the labels that it knows, ascending, integers, shape [classes].
      center: means of the fitted vectors, shape [dimensions].
      scale: factors of the differences to these means, shape [dimensions].
      weights: shape [dimensions + 1, classes], the last row for a constant input of 1.
    """

    classes: np.ndarray
    center: np.ndarray
    scale: np.ndarray
    weights: np.ndarray

    def predict(self, vectors: np.ndarray) -> np.ndarray:
        """The most probable label of each vector [N, dimensions], shape [N]."""
        return self.classes[(self._inputs(vectors) @ self.weights).argmax(axis=1)]

    def _inputs(self, vectors: np.ndarray) -> np.ndarray:
        standardized = (vectors.astype(np.float64) - self.center) * self.scale
        return np.concatenate([standardized, np.ones((len(vectors), 1))], axis=1)


def fit(
    examples: LabeledVectors, *, penalty: float, start: LinearProbe | None = None
) -> LinearProbe:
    """Fits a probe.

    It minimizes the mean of -log p(label|vector) in nats plus half the penalty times the squared
    weights, without those of the constant input. The function is convex, so the result does not
    depend on the order of the examples or on the start.

    Args:
      examples: at least one. Of many, evenly spaced ones are taken, to bound the time.
      penalty: greater than 0.
      start: a probe of the same examples with another penalty, near which the result is.
    """
    probe, inputs, numbers = _prepared(examples)
    # A row for each class: sums over classes are then sums of whole rows, which are fast.
    columns, positions = np.ascontiguousarray(inputs.T), np.arange(len(inputs))

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(probe.weights.shape)
        logits = weights.T @ columns
        logits -= logits.max(axis=0)
        own = logits[numbers, positions]
        probabilities = np.exp(logits, out=logits)
        sums = probabilities.sum(axis=0)
        probabilities /= sums
        probabilities[numbers, positions] -= 1
        penalized = weights * penalty
        penalized[-1] = 0
        value = float((np.log(sums) - own).mean() + 0.5 * (weights * penalized).sum())
        return value, (columns @ probabilities.T / len(inputs) + penalized).ravel()

    first = probe if start is None else start
    weights = minimize(loss, first.weights.ravel())
    return dataclasses.replace(probe, weights=weights.reshape(probe.weights.shape))


def _prepared(examples: LabeledVectors) -> tuple[LinearProbe, np.ndarray, np.ndarray]:
    """A probe without weights, and the inputs and the numbers of the classes of examples."""
    classes = np.unique(examples.labels)
    dimensions = examples.vectors.shape[1]
    largest = max(len(classes), _MAX_PRODUCTS // ((dimensions + 1) * len(classes)))
    if len(examples) > largest:
        examples = examples[evenly_spaced(len(examples), largest)]
    center = examples.vectors.mean(axis=0, dtype=np.float64)
    deviation = examples.vectors.std(axis=0, dtype=np.float64)
    # A constant dimension says nothing: it becomes 0.
    scale = np.divide(1, deviation, out=np.zeros(dimensions), where=deviation > 0)
    probe = LinearProbe(classes, center, scale, np.zeros((dimensions + 1, len(classes))))
    return probe, probe._inputs(examples.vectors), np.searchsorted(classes, examples.labels)


def best_probe(
    fitted: LabeledVectors, heldout: LabeledVectors, *, penalties: Sequence[float] = PENALTIES
) -> tuple[LinearProbe, float]:
    """The probe that predicts most labels correctly, and its penalty; in a tie, the strongest.

    Args:
      fitted: examples that the probes are fitted to, at least one.
      heldout: examples whose labels are predicted, at least one.
      penalties: the penalties to choose from, in descending order.
    """
    best: tuple[int, LinearProbe, float] | None = None
    probe = None
    for penalty in penalties:
        probe = fit(fitted, penalty=penalty, start=probe)
        right = int((probe.predict(heldout.vectors) == heldout.labels).sum())
        if best is None or right > best[0]:
            best = right, probe, penalty
    assert best is not None
    return best[1:]
