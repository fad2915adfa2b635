"""The mutual information gap (MIG): whether a single latent dimension holds the label.

Chen et al. (2018), "Isolating Sources of Disentanglement in Variational Autoencoders", define the
gap for a known factor v as

  (I(z_1; v) - I(z_2; v)) / H(v)

of the two most informative latent dimensions, and average it over all factors. A set of labelled
images has one known factor, its label.

The information is that of a dimension in 20 bins, as many as Locatello et al. (2019), "Challenging
Common Assumptions in the Unsupervised Learning of Disentangled Representations", take. It is
computed exactly with the probabilities of the bins under the posteriors, without draws.
"""

import statistics

import numpy as np
import tensorflow as tf

_BINS = 20
# At these standard scores of a dimension the bins end: each has a 20th of a normal distribution.
_EDGES = np.array([statistics.NormalDist().inv_cdf(n / _BINS) for n in range(1, _BINS)])


def information_gap(means: np.ndarray, log_variances: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The gap of each example, whose mean is the MIG, as fractions of the entropy of the labels.

    Args:
      means: posterior means, shape [N, latents].
      log_variances: natural logarithms of the posterior variances, of the same shape.
      labels: of the examples, integers of two or more classes, shape [N].

    Returns:
      float64, shape [N]. With a single latent dimension, the gap is all of its information.
    """
    information = label_information(means, log_variances, labels)
    order = np.argsort(-information.mean(axis=0), kind="stable")
    gap = information[:, order[0]]
    if len(order) > 1:
        gap = gap - information[:, order[1]]
    _, counts = np.unique(labels, return_counts=True)
    shares = counts / len(labels)
    return gap / -(shares * np.log(shares)).sum()


def label_information(
    means: np.ndarray, log_variances: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """The information of each latent dimension about the label of each example.

    It is E[log p(b|v) - log p(b)] over the bin b of z_j ~ q(z_j|x), with the label v of the
    example. The mean over examples is the mutual information of the bin and the label. With N
    examples of C classes, it is too large by at most about 19 (C - 1) / 2N nats.

    Args:
      means: posterior means, shape [N, latents], N > 0.
      log_variances: natural logarithms of the posterior variances, of the same shape.
      labels: of the examples, integers, shape [N].

    Returns:
      In nats, float64, shape [N, latents].
    """
    # With the examples of a class side by side, the sums of classes are those of ranges.
    order = np.argsort(labels, kind="stable")
    _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    information = np.empty(means.shape)
    for dimension in range(means.shape[1]):
        columns = (each[order, dimension] for each in (means, log_variances))
        bins = _bin_probabilities(*columns)
        of_classes = np.add.reduceat(bins, starts, axis=0) / counts[:, np.newaxis]
        of_all = bins.mean(axis=0)
        # A bin of probability 0 under all examples adds nothing.
        ratios = np.divide(of_classes, of_all, out=np.ones_like(of_classes), where=of_classes > 0)
        logarithms = np.repeat(np.log(ratios), counts, axis=0)
        information[order, dimension] = (bins * logarithms).sum(axis=1)
    return information


def _bin_probabilities(means: np.ndarray, log_variances: np.ndarray) -> np.ndarray:
    """The probabilities of the bins of normal distributions [N], float64 [N, bins]."""
    means, variances = means.astype(np.float64), np.exp(log_variances.astype(np.float64))
    # The variance of their mixture: that of the means and the mean of the variances.
    edges = means.mean() + np.sqrt(means.var() + variances.mean()) * _EDGES
    scores = (edges - means[:, np.newaxis]) / np.sqrt(variances)[:, np.newaxis]
    # P(z <= e) = ½ (1 + erf((e - m) / s√2))
    below = 0.5 * (1 + tf.math.erf(scores / np.sqrt(2)).numpy())
    return np.diff(below, axis=1, prepend=0, append=1)
