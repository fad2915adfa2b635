"""Keras: `fit` with the VAE class of the Keras documentation."""

import time
from typing import Any

import keras
import tensorflow as tf
from keras import layers, ops

from benchmarks.peers.common import LATENTS, LEARNING_RATE, SETTINGS, load_images
from benchmarks.tasks.reports import Report


def networks(model: str):
    """The networks of the VAE of the Keras documentation.

    Args:
      model: a key of `SETTINGS`.

    Returns:
      encoder: images to mean, log-variance and a draw of the posterior.
      decoder: latents to intensities.
    """

    class Sampling(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.seed_generator = keras.random.SeedGenerator(0)

        def call(self, inputs):
            z_mean, z_log_var = inputs
            epsilon = keras.random.normal(ops.shape(z_mean), seed=self.seed_generator)
            return z_mean + ops.exp(0.5 * z_log_var) * epsilon

    image, latent = keras.Input((28, 28, 1)), keras.Input((LATENTS,))
    if model == "mlp":
        x = layers.Dense(256, "relu")(layers.Flatten()(image))
        y = layers.Dense(784, "sigmoid")(layers.Dense(256, "relu")(latent))
        reconstruction = layers.Reshape((28, 28, 1))(y)
    else:
        x = layers.Conv2D(32, 3, activation="relu", strides=2, padding="same")(image)
        x = layers.Conv2D(64, 3, activation="relu", strides=2, padding="same")(x)
        x = layers.Dense(16, "relu")(layers.Flatten()(x))
        y = layers.Reshape((7, 7, 64))(layers.Dense(7 * 7 * 64, "relu")(latent))
        y = layers.Conv2DTranspose(64, 3, activation="relu", strides=2, padding="same")(y)
        y = layers.Conv2DTranspose(32, 3, activation="relu", strides=2, padding="same")(y)
        reconstruction = layers.Conv2DTranspose(1, 3, activation="sigmoid", padding="same")(y)
    z_mean, z_log_var = layers.Dense(LATENTS)(x), layers.Dense(LATENTS)(x)
    z = Sampling()([z_mean, z_log_var])
    return keras.Model(image, [z_mean, z_log_var, z]), keras.Model(latent, reconstruction)


def keras_fit(examples: str, model: str, seconds: float, **compile_options: Any) -> Report:
    """Trains with `fit`.

    Args:
      examples: the prepared directory.
      model: a key of `SETTINGS`.
      seconds: the shortest time to measure.
      **compile_options: passed to `compile`.
    """

    class VAE(keras.Model):
        def __init__(self, encoder, decoder):
            super().__init__()
            self.encoder = encoder
            self.decoder = decoder
            self.total_loss_tracker = keras.metrics.Mean(name="total_loss")
            self.reconstruction_loss_tracker = keras.metrics.Mean(name="reconstruction_loss")
            self.kl_loss_tracker = keras.metrics.Mean(name="kl_loss")

        @property
        def metrics(self):
            return [
                self.total_loss_tracker,
                self.reconstruction_loss_tracker,
                self.kl_loss_tracker,
            ]

        def train_step(self, data):
            with tf.GradientTape() as tape:
                z_mean, z_log_var, z = self.encoder(data)
                reconstruction = self.decoder(z)
                reconstruction_loss = ops.mean(
                    ops.sum(keras.losses.binary_crossentropy(data, reconstruction), axis=(1, 2))
                )
                kl_loss = -0.5 * (1 + z_log_var - ops.square(z_mean) - ops.exp(z_log_var))
                kl_loss = ops.mean(ops.sum(kl_loss, axis=1))
                total_loss = reconstruction_loss + kl_loss
            grads = tape.gradient(total_loss, self.trainable_weights)
            self.optimizer.apply_gradients(zip(grads, self.trainable_weights, strict=True))
            self.total_loss_tracker.update_state(total_loss)
            self.reconstruction_loss_tracker.update_state(reconstruction_loss)
            self.kl_loss_tracker.update_state(kl_loss)
            return {
                "loss": self.total_loss_tracker.result(),
                "reconstruction_loss": self.reconstruction_loss_tracker.result(),
                "kl_loss": self.kl_loss_tracker.result(),
            }

    class Clock(keras.callbacks.Callback):
        """Records the end and the loss of each epoch, and stops after the shortest time.

        The first epoch warms up and is not timed.
        """

        def __init__(self):
            super().__init__()
            self.ends: list[float] = []
            self.losses: list[float] = []

        def on_epoch_end(self, epoch, logs=None):
            self.ends.append(time.perf_counter())
            self.losses.append(float(logs["loss"]))
            elapsed = self.ends[-1] - self.ends[0]
            self.model.stop_training = len(self.ends) > 1 and elapsed >= seconds

    images = load_images(examples)
    setting = SETTINGS[model]
    keras.utils.set_random_seed(0)
    vae = VAE(*networks(model))
    optimizer = {"rmsprop": keras.optimizers.RMSprop, "adam": keras.optimizers.Adam}
    vae.compile(optimizer=optimizer[setting.optimizer](LEARNING_RATE), **compile_options)
    clock = Clock()
    vae.fit(images, batch_size=setting.batch_size, epochs=10**6, verbose=0, callbacks=[clock])
    return {
        "images": len(images) * (len(clock.ends) - 1),
        "seconds": clock.ends[-1] - clock.ends[0],
        "loss": clock.losses[1],
    }
