"""The latents of a hierarchy, on a message.

The levels are coded as one: all are taken from the message under their posteriors, from the top
level down, before the pixels are put on it, and all are put on it under their priors afterwards.
Bit-Swap (Kingma, Abbeel and Ho, 2019) puts each level on the message before the next one is taken,
which borrows fewer initial bits. It requires that each level depends only on its neighbors; here
each depends on all levels above it. The initial bits are few, since a block's first batch is small.
"""

import numpy as np
import tensorflow as tf

from components.compression.ans import Message
from components.compression.grid_normal import TailedNormal
from components.compression.latents import pop_posterior, push_posterior
from components.compression.one_level import CPU
from components.model.distributions import Normal
from components.model.ladder import Ladder
from components.model.pixels import to_unit


class HierarchyLatents:
    """A `LatentCoder` of a hierarchy of latents.

    Args:
      ladder: the latents of the model.
    """

    def __init__(self, ladder: Ladder):
        self._ladder = ladder

    def pop_posterior(
        self, message: Message, images: np.ndarray, labels: np.ndarray, step: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `LatentCoder.pop_posterior`."""
        del labels
        levels: list[np.ndarray] = []

        def pop(prior: Normal, posterior: Normal) -> np.ndarray:
            del prior
            levels.append(pop_posterior(message, *_parameters(posterior), step))
            return levels[-1]

        features = self._descend(images, len(images), pop, step)
        return np.concatenate(levels, axis=1), features

    def push_prior(self, message: Message, z: np.ndarray, labels: np.ndarray, step: float) -> None:
        """See `LatentCoder.push_prior`."""
        del labels
        # A prior depends on the levels above, which a decoder pops first: so they are pushed last.
        for level, prior, _ in reversed(self._levels(z, None, step)):
            means, deviations = _parameters(prior)
            for index in reversed(range(level.shape[1])):
                normal = TailedNormal(means[:, index], deviations[:, index], step)
                normal.push(message, level[:, index])

    def pop_prior(
        self, message: Message, labels: np.ndarray, step: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `LatentCoder.pop_prior`."""
        levels: list[np.ndarray] = []

        def pop(prior: Normal, posterior: Normal) -> np.ndarray:
            del posterior
            means, deviations = _parameters(prior)
            columns = [
                TailedNormal(means[:, index], deviations[:, index], step).pop(message)
                for index in range(means.shape[1])
            ]
            levels.append(np.stack(columns, axis=1))
            return levels[-1]

        features = self._descend(None, len(labels), pop, step)
        return np.concatenate(levels, axis=1), features

    def push_posterior(
        self, message: Message, z: np.ndarray, images: np.ndarray, step: float
    ) -> None:
        """See `LatentCoder.push_posterior`."""
        for level, _, posterior in reversed(self._levels(z, images, step)):
            push_posterior(message, level, *_parameters(posterior), step)

    def _levels(
        self, z: np.ndarray, images: np.ndarray | None, step: float
    ) -> list[tuple[np.ndarray, Normal, Normal]]:
        """The latents of each level, from the top down, with their priors and posteriors."""
        levels: list[tuple[np.ndarray, Normal, Normal]] = []

        def known(prior: Normal, posterior: Normal) -> np.ndarray:
            first = sum(each.shape[1] for each, _, _ in levels)
            level = z[:, first : first + prior.mean.shape[1]]
            levels.append((level, prior, posterior))
            return level

        self._descend(images, len(z), known, step)
        return levels

    def _descend(self, images: np.ndarray | None, count: int, choose, step: float) -> np.ndarray:
        """The decoder's features at the latents, in steps, that `choose` gives for each level.

        Without images the posteriors are the priors.
        """

        def latents(level: int, prior: Normal, posterior: Normal) -> tf.Tensor:
            del level
            # Encoder and decoder compute with the rounded latents, which both of them know.
            return tf.constant(choose(prior, posterior) * step, tf.float32)

        # Not on a GPU, whose kernels may add in another order in every run.
        with tf.device(CPU):
            x = None if images is None else tf.constant(to_unit(images))
            return np.asarray(self._ladder.descend(x, count, latents))


def _parameters(normal: Normal) -> tuple[np.ndarray, np.ndarray]:
    """The means and the standard deviations, float64 [N, latents]."""
    deviations = tf.exp(0.5 * normal.log_variance)
    return np.asarray(normal.mean).astype(np.float64), np.asarray(deviations).astype(np.float64)
