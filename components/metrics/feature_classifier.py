"""A small convolutional classifier, whose features serve to compare sets of images.

The Fréchet and the kernel inception distance take the features of a network that was trained on
photographs. For other images, such as gray drawings, features that separate the classes of these
images say more, and need no downloaded weights.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from components.base.arithmetic import ceil_div
from components.base.shapes import Shape
from components.model.pixels import forward_batch_size, to_unit

_LARGEST_MAP = 4  # The longer side of the last convolution's outputs, at most.
_FIRST_WIDTH, _LARGEST_WIDTH = 32, 128
# With "relu", half of the features are 0 for all images.
_ACTIVATION = "leaky_relu"
# The file: 32-bit floating-point numbers, the lowest byte first.
_NUMBER = np.dtype("<f4")


@dataclasses.dataclass(frozen=True)
class ClassifierSettings:
    """The settings that determine the weights of a classifier, together with its examples.

    Attributes:
      examples: number of examples that it is trained on, at most.
      steps: number of updates, at most.
      epochs: number of passes over the examples, at most: they end the training on few examples.
      batch_size: examples in a batch.
      learning_rate: of the first step; it falls along half a cosine to 0.
      features: number of features.
      longest_side: images are reduced to at most this many pixels a side.
      seed: seed of the initial weights and of the order of the examples.
    """

    examples: int = 20_000
    steps: int = 600
    epochs: int = 20
    batch_size: int = 100
    learning_rate: float = 0.002
    features: int = 64
    longest_side: int = 64
    seed: int = 0


class FeatureClassifier:
    """A trained classifier.

    Args:
      network: maps images in [0, 1] to features and logits: see `_network`.
      center: mean of the features of the training images, float32, shape [features].
      scale: root of the mean variance of these features; not 0.
    """

    def __init__(self, network: keras.Model, center: np.ndarray, scale: float):
        self._network, self._center, self._scale = network, center, np.float32(scale)

    @staticmethod
    def train(
        images: np.ndarray, labels: np.ndarray, *, classes: int, settings: ClassifierSettings
    ) -> "FeatureClassifier":
        """Trains a classifier, which depends only on the arguments.

        Args:
          images: uint8, shape [N, height, width, channels], N > 0.
          labels: integers below `classes`, shape [N].
          classes: number of labels.
          settings: the settings. Their `examples` has no effect: all images are used.
        """
        height, width, channels = images.shape[1:]
        network = _network((height, width, channels), classes, settings)
        _fit(network, images, labels, settings)
        found = np.concatenate([features for features, _ in _outputs(network, images)])
        variance = found.var(axis=0, dtype=np.float64).mean()
        # Images that are all equal have no variance.
        return FeatureClassifier(network, found.mean(axis=0), math.sqrt(variance) or 1.0)

    def features(self, images: np.ndarray) -> np.ndarray:
        """The features of images, standardized: over the training images, their mean is 0.

        Their variance over the training images, summed over the features, is the number of the
        features: all are divided by one number, so that distances keep their proportions.

        Args:
          images: uint8, shape [N, height, width, channels], N > 0.

        Returns:
          float32, shape [N, features].
        """
        found = np.concatenate([features for features, _ in _outputs(self._network, images)])
        return (found - self._center) / self._scale

    def predict(self, images: np.ndarray) -> np.ndarray:
        """The most probable label of each image, int64 [N]; the images are as in `features`."""
        outputs = _outputs(self._network, images)
        return np.concatenate([logits.argmax(axis=1) for _, logits in outputs])

    def to_bytes(self) -> bytes:
        """The content of a file that `from_bytes` reads: numbers, and nothing that is run."""
        values = [*self._network.get_weights(), self._center, self._scale]
        return np.concatenate([np.ravel(value) for value in values]).astype(_NUMBER).tobytes()

    @staticmethod
    def from_bytes(
        data: bytes, image_shape: Shape, *, classes: int, settings: ClassifierSettings
    ) -> "FeatureClassifier":
        """The classifier in a file.

        Args:
          data: content of the file.
          image_shape: (height, width, channels) of the images that it was trained on.
          classes: number of their labels.
          settings: the settings that it was trained with.

        Raises:
          ValueError: the file does not hold such a classifier.
        """
        network = _network(image_shape, classes, settings)
        shapes = [weight.shape for weight in network.get_weights()] + [(settings.features,), ()]
        sizes = [math.prod(shape) for shape in shapes]
        if len(data) != sum(sizes) * _NUMBER.itemsize:
            raise ValueError(f"it has {len(data):,} bytes, not {sum(sizes) * _NUMBER.itemsize:,}")
        values = np.frombuffer(data, _NUMBER).astype(np.float32)
        if not np.isfinite(values).all() or values[-1] <= 0:
            raise ValueError("its numbers are not those of a classifier")
        parts = np.split(values, np.cumsum(sizes)[:-1])
        *weights, center, scale = (
            part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)
        )
        network.set_weights(weights)
        return FeatureClassifier(network, center, float(scale))


def _network(image_shape: Shape, classes: int, settings: ClassifierSettings) -> keras.Model:
    """Maps images in [0, 1] to their features, float32 [batch, features], and their logits.

    Convolutions halve the sides until the longer one has at most four pixels.
    """
    seeds = itertools.count(settings.seed)

    def initializer() -> keras.initializers.Initializer:
        # Layers of the same shape do not start with the same weights.
        return keras.initializers.HeNormal(seed=next(seeds))

    longest = max(image_shape[:2])
    hidden = images = keras.Input(image_shape)
    if (factor := ceil_div(longest, settings.longest_side)) > 1:
        hidden = keras.layers.AveragePooling2D(factor, padding="same")(hidden)
        longest = ceil_div(longest, factor)
    width = _FIRST_WIDTH
    while longest > _LARGEST_MAP:
        hidden = keras.layers.Conv2D(
            width, 3, 2, "same", activation=_ACTIVATION, kernel_initializer=initializer()
        )(hidden)
        longest, width = ceil_div(longest, 2), min(2 * width, _LARGEST_WIDTH)
    hidden = keras.layers.Flatten()(hidden)
    features = keras.layers.Dense(
        settings.features, activation=_ACTIVATION, kernel_initializer=initializer()
    )(hidden)
    logits = keras.layers.Dense(classes, kernel_initializer=initializer())(features)
    return keras.Model(images, [features, logits])


def _fit(
    network: keras.Model, images: np.ndarray, labels: np.ndarray, settings: ClassifierSettings
) -> None:
    """Minimizes the cross-entropy of the labels with Adam."""
    size = min(settings.batch_size, len(images))
    epoch_steps = len(images) // size
    steps = min(settings.steps, settings.epochs * epoch_steps)
    optimizer = keras.optimizers.Adam(
        keras.optimizers.schedules.CosineDecay(settings.learning_rate, steps)
    )
    optimizer.build(network.trainable_variables)

    @tf.function(autograph=False)
    def step(batch: tf.Tensor, targets: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            _, logits = network(to_unit(batch))
            entropies = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
            loss = tf.reduce_mean(entropies)
        variables = network.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)

    rng = np.random.default_rng(settings.seed)
    for number in range(steps):
        position = number % epoch_steps * size
        if not position:
            # A new order, so that the examples after the last full batch are others in every epoch.
            order = rng.permutation(len(images))
        rows = order[position : position + size]
        step(tf.constant(images[rows]), tf.constant(labels[rows]))


def _outputs(network: keras.Model, images: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the features and the logits of images, batch by batch."""
    size = forward_batch_size((images.shape[1], images.shape[2], images.shape[3]))
    for first in range(0, len(images), size):
        features, logits = _infer(network, tf.constant(images[first : first + size]))
        yield features.numpy(), logits.numpy()


# At module level, so that a network is traced once.
@tf.function(reduce_retracing=True, autograph=False)
def _infer(network: keras.Model, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    features, logits = network(to_unit(batch))
    return features, logits
