"""The functions of a VAE that a SavedModel serves: on raw pixels, in float32, in any batch size.

Each depends only on its inputs. So a server may join the requests of several clients into one
batch, and the answer for an image is the same in every batch.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf
from etils import epath

from components.model import noise, pixels, xla
from components.model.vae import VAE
from pipeline.export.image_bytes import decode_images

# The seeds of `score` and `sample`. Draws of `sample` also depend on the seed of the request.
_SCORE_SEED, _SAMPLE_SEED = 0, 0

Outputs = dict[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Signature:
    """A function of a served model.

    Attributes:
      inputs: the type of each input, by name, in the order of the function's arguments.
      call: the function; gives tensors by name.
    """

    inputs: Mapping[str, tf.TensorSpec]
    call: Callable[..., Outputs]

    def function(self) -> tuple[Callable[..., Outputs], list[tf.TensorSpec]]:
        """The function of tensors in the order of the inputs, and their types with their names.

        The traced graph has only forward functions, in operations that every server has. It checks
        the shapes of its inputs itself, because a server does not: a network that begins with a
        reshape takes any image with the right number of pixels.
        """

        def call(*arguments: tf.Tensor) -> Outputs:
            with xla.plain_operations():
                return self.call(
                    **{
                        name: tf.ensure_shape(argument, spec.shape)
                        for (name, spec), argument in zip(
                            self.inputs.items(), arguments, strict=True
                        )
                    }
                )

        specs = [tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in self.inputs.items()]
        return tf.function(call, input_signature=specs, autograph=False), specs


class ServedModel:
    """The signatures of a VAE.

    Args:
      vae: the model, in float32.
      background: intensity that transparent pixels of encoded images become, 0 to 255.

    Attributes:
      signatures: the functions by name. Those that decode have an input `labels` if the model is
        conditional.
    """

    def __init__(self, vae: VAE, *, background: int = 0):
        self._vae = vae
        self._background = background
        images = tf.TensorSpec([None, *vae.image_shape], tf.uint8)
        latents = tf.TensorSpec([None, vae.latents], tf.float32)
        scalar = tf.TensorSpec([], tf.int32)
        labels = {}
        if vae.architecture.classes:
            labels = {"labels": tf.TensorSpec([None], tf.int64)}
        self.signatures = {
            "encode": Signature({"images": images}, self.encode),
            "encode_bytes": Signature(
                {"image_bytes": tf.TensorSpec([None], tf.string)}, self.encode_bytes
            ),
            "decode": Signature({"latents": latents, **labels}, self.decode),
            "reconstruct": Signature({"images": images, **labels}, self.reconstruct),
            "sample": Signature({"count": scalar, "seed": scalar, **labels}, self.sample),
            "score": Signature({"images": images, **labels}, self.score),
        }
        # The noise of the first image of an evaluation set, and of a set of only that image.
        self._thresholds = noise.evaluation_thresholds((1, *vae.image_shape))
        rng = np.random.default_rng(np.random.SeedSequence([_SCORE_SEED, 1]))
        self._score_noise = rng.standard_normal((1, vae.latents), np.float32)

    @property
    def largest_count(self) -> int:
        """The most images that `sample` draws at once."""
        return pixels.batch_size(self._vae.image_shape)

    def portable_signatures(self) -> dict[str, Signature]:
        """Encoder and decoder for runtimes that lack some operations of TensorFlow.

        There is no `decode` if the head decodes the pixels of an image in turn. Labels are not
        checked, and a batch has an image or more.
        """
        portable = {"encode": Signature(self.signatures["encode"].inputs, self._posterior)}
        if not self._vae.head.is_sequential:
            decode = self.signatures["decode"]
            portable["decode"] = Signature(decode.inputs, self._likelihood_mean)
        return portable

    def encode(self, images: tf.Tensor) -> Outputs:
        """The posterior's `mean`, which is the embedding, and `log_variance`; [batch, latents]."""
        return _with_a_row(self._posterior, images)

    def encode_bytes(self, image_bytes: tf.Tensor) -> Outputs:
        """The results of `encode` for PNG and JPEG files, strings of shape [batch]."""
        shape = self._vae.image_shape
        return self.encode(decode_images(image_bytes, shape, background=self._background))

    def decode(self, latents: tf.Tensor, labels: tf.Tensor | None = None) -> Outputs:
        """The likelihood's mean at latents: `images` in [0, 1]."""
        self._check_labels(labels)
        return _with_a_row(self._likelihood_mean, latents, labels)

    def reconstruct(self, images: tf.Tensor, labels: tf.Tensor | None = None) -> Outputs:
        """The likelihood's mean at the embeddings: `images` in [0, 1]."""
        self._check_labels(labels)

        def compute(images: tf.Tensor, labels: tf.Tensor | None) -> Outputs:
            return {"images": self._vae(pixels.to_unit(images), labels)}

        return _with_a_row(compute, images, labels)

    def sample(self, count: tf.Tensor, seed: tf.Tensor, labels: tf.Tensor | None = None) -> Outputs:
        """`count` draws of `latents` from the prior, a function of the seed, decoded: `images`."""
        self._check_labels(labels)
        tf.debugging.assert_less_equal(
            count, self.largest_count, f"count must be at most {self.largest_count}"
        )
        draws = noise.standard_normal(
            (count, self._vae.latent_model.latents),
            seed=_SAMPLE_SEED,
            step=tf.cast(seed, tf.int64),
        )

        def compute(draws: tf.Tensor, labels: tf.Tensor | None) -> Outputs:
            latents = self._vae.sample_prior(draws, labels)
            return {"latents": latents, **self._likelihood_mean(latents, labels)}

        return _with_a_row(compute, draws, labels)

    def score(self, images: tf.Tensor, labels: tf.Tensor | None = None) -> Outputs:
        """`elbo`, `rate` and `distortion` in nats, shape [batch], with one draw of z.

        All images have the same noise, and the same thresholds if the model binarizes its data. So
        the score of an image is the ELBO that the evaluation gives for a set of that image alone.
        """
        self._check_labels(labels)
        return _with_a_row(self._elbo, images, labels)

    def _elbo(self, images: tf.Tensor, labels: tf.Tensor | None) -> Outputs:
        if self._vae.family.binarizes:
            observed = tf.cast(images > self._thresholds, tf.float32)
        else:
            observed = pixels.to_unit(images)
        draws = tf.repeat(self._score_noise, tf.shape(images)[0], axis=0)
        rates, distortion = self._vae.rates_and_distortion(observed, draws, labels)
        rate = tf.reduce_sum(rates, axis=-1)
        return {"elbo": -(rate + distortion), "rate": rate, "distortion": distortion}

    def _posterior(self, images: tf.Tensor) -> Outputs:
        posterior = self._vae.posterior(pixels.to_unit(images))
        return {"mean": posterior.mean, "log_variance": posterior.log_variance}

    def _likelihood_mean(self, latents: tf.Tensor, labels: tf.Tensor | None = None) -> Outputs:
        return {"images": self._vae.likelihood(latents, labels).mean()}

    def _check_labels(self, labels: tf.Tensor | None) -> None:
        classes = self._vae.architecture.classes
        if labels is not None:
            message = f"labels must be from 0 to {classes - 1}"
            tf.debugging.assert_non_negative(labels, message)
            tf.debugging.assert_less(labels, tf.constant(classes, labels.dtype), message)

    def save(
        self,
        directory: epath.PathLike,
        signatures: Mapping[str, Signature],
        *,
        card: epath.PathLike | None = None,
    ) -> None:
        """Writes a SavedModel, which loads without this project and without Keras.

        Args:
          directory: where to write it.
          signatures: the functions to write.
          card: a file to store in its `assets/`.
        """
        module = tf.Module()
        # Only the variables: an object of Keras would need its class when it is loaded.
        module.weights = [weight.value for weight in self._vae.weights]
        if card is not None:
            module.model_card = tf.saved_model.Asset(str(card))
        tf.saved_model.save(
            module,
            str(directory),
            signatures={name: signature.function()[0] for name, signature in signatures.items()},
            # Gradients are not exported: some are compiled by XLA.
            options=tf.saved_model.SaveOptions(experimental_custom_gradients=False),
        )


def _with_a_row(compute: Callable[..., Outputs], *inputs: tf.Tensor | None) -> Outputs:
    """Computes a function of batches; for an empty one, on a row of zeros, and drops its outputs.

    Some convolutions of TensorFlow give a wrong shape for an empty batch.

    Args:
      compute: a function of tensors whose first axis is that of the batch.
      *inputs: its arguments; None for missing labels.
    """
    count = tf.shape(inputs[0])[0]
    missing = tf.maximum(1 - count, 0)
    filled = [
        None if each is None else tf.pad(each, [[0, missing], *[[0, 0]] * (each.shape.rank - 1)])
        for each in inputs
    ]
    return {name: output[:count] for name, output in compute(*filled).items()}
