import keras
import numpy as np
import pytest
import tensorflow as tf

from components.model.distributions import Normal
from components.model.priors.vamp import VampPrior

RNG = np.random.default_rng(0)
IMAGE_SHAPE = (4, 3, 1)


@keras.saving.register_keras_serializable(package="test_vamp")
class Encoder(keras.Model):
    """A model that owns a prior and the encoder that the prior needs, as a VAE does."""

    def __init__(self, components: int = 5, **kwargs):
        super().__init__(**kwargs)
        self.encoder = keras.Sequential(
            [keras.Input(IMAGE_SHAPE), keras.layers.Flatten(), keras.layers.Dense(4)]
        )
        self.prior = VampPrior(
            2, image_shape=IMAGE_SHAPE, components=components, posterior=self.posterior
        )
        self.built = True

    def posterior(self, images: tf.Tensor) -> Normal:
        return Normal(*tf.split(self.encoder(images), 2, axis=-1))

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return self.posterior(images).mean


def make(**arguments) -> Encoder:
    keras.utils.set_random_seed(0)
    return Encoder(**arguments)


def normal(*shape: int) -> tf.Tensor:
    return tf.constant(RNG.normal(size=shape), tf.float32)


@pytest.mark.parametrize("components", [1, 5, 70])
def test_the_log_density_is_that_of_the_mean_of_the_posteriors(components):
    model, z = make(components=components), normal(20, 2)
    densities = []
    for image in model.prior.pseudo_inputs().numpy():
        posterior = model.posterior(image[np.newaxis])
        mean, variance = posterior.mean.numpy()[0], np.exp(posterior.log_variance.numpy()[0])
        terms = -0.5 * ((z.numpy() - mean) ** 2 / variance + np.log(2 * np.pi * variance))
        densities.append(np.exp(terms.sum(axis=-1, dtype=np.float64)))
    expected = np.log(np.mean(densities, axis=0))
    np.testing.assert_allclose(model.prior.log_prob(z), expected, rtol=1e-4, atol=1e-4)


def test_samples_have_the_moments_of_the_mixture():
    prior = make().prior
    _, posteriors = prior.mixture()
    mean, variance = posteriors.mean.numpy(), np.exp(posteriors.log_variance.numpy())
    z = prior.sample(normal(200_000, 3)).numpy()
    np.testing.assert_allclose(z.mean(axis=0), mean.mean(axis=0), atol=0.02)
    expected = variance.mean(axis=0) + mean.var(axis=0)
    np.testing.assert_allclose(z.var(axis=0), expected, rtol=0.03)


def test_gradients_reach_the_pseudo_inputs_and_the_encoder():
    model = make()
    weights = [model.prior.logits, *model.encoder.trainable_weights]
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(model.prior.log_prob(normal(20, 2)))
    for gradient in tape.gradient(total, [weight.value for weight in weights]):
        assert np.abs(gradient).max() > 0


def test_the_encoder_belongs_to_its_model_alone():
    model = make()
    assert [weight.name for weight in model.prior.weights] == ["pseudo_input_logits"]
    assert len(model.weights) == len(model.encoder.weights) + 1


def test_a_layer_as_the_posterior_is_not_tracked():
    layer = keras.layers.Dense(2)
    layer.build((None, 2))
    prior = VampPrior(2, image_shape=IMAGE_SHAPE, components=5, posterior=layer)
    assert len(prior.weights) == 1


def test_a_saved_owner_is_loaded_with_the_pseudo_inputs_and_the_encoder_once(tmp_path):
    model, z = make(), normal(20, 2)
    for weight in model.weights:
        weight.assign(RNG.normal(size=weight.shape))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.prior.log_prob(z), model.prior.log_prob(z))
    np.testing.assert_array_equal(loaded.prior.logits, model.prior.logits)
    # The loaded prior encodes with the loaded encoder.
    for weight in loaded.encoder.weights:
        weight.assign(weight * 0)
    assert not np.allclose(loaded.prior.log_prob(z), model.prior.log_prob(z))


def test_pseudo_inputs_begin_as_different_intensities_around_a_half():
    pseudo_inputs = make(components=200).prior.pseudo_inputs().numpy()
    assert pseudo_inputs.shape == (200, *IMAGE_SHAPE)
    assert ((pseudo_inputs > 0) & (pseudo_inputs < 1)).all()
    assert pseudo_inputs.mean() == pytest.approx(0.5, abs=0.02)
    assert pseudo_inputs.std() > 0.1
