"""What holds for every prior."""

from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.model.priors.flow import RealNVP
from components.model.priors.prior import Prior
from components.model.priors.standard_normal import StandardNormal

RNG = np.random.default_rng(0)


# Makes each prior, given the number of latents.
PRIORS: dict[str, Callable[[int], Prior]] = {
    "standard_normal": StandardNormal,
    "flow": lambda latents: RealNVP(latents, widths=(16, 16)),
}


@pytest.fixture(params=PRIORS)
def make(request) -> Callable[[int], Prior]:
    """Makes a prior with random weights."""

    def make_prior(latents: int) -> Prior:
        keras.utils.set_random_seed(0)
        prior = PRIORS[request.param](latents)
        randomize(prior)
        return prior

    return make_prior


def randomize(layer: keras.layers.Layer):
    """Adds the same normal noise to the weights at each call."""
    rng = np.random.default_rng(1)
    for weight in layer.weights:
        weight.assign(weight + rng.normal(size=weight.shape, scale=0.1))


def normal(*shape: int, scale: float = 1.0) -> tf.Tensor:
    return tf.constant(RNG.normal(size=shape, scale=scale), tf.float32)


@keras.saving.register_keras_serializable(package="test_priors")
class Owner(keras.Model):
    """A model that makes its prior in its constructor, as a VAE does."""

    def __init__(self, name_of_prior: str, **kwargs):
        super().__init__(**kwargs)
        self.name_of_prior = name_of_prior
        self.prior = PRIORS[name_of_prior](3)
        self.built = True

    def call(self, z: tf.Tensor) -> tf.Tensor:
        return self.prior.log_prob(z)

    def get_config(self):
        return super().get_config() | {"name_of_prior": self.name_of_prior}


@pytest.mark.parametrize("latents", [1, 2, 5])
def test_shapes_and_types(make, latents):
    prior = make(latents)
    z = prior.sample(normal(7, latents))
    log_prob = prior.log_prob(z)
    assert z.shape == (7, latents)
    assert log_prob.shape == (7,)
    assert z.dtype == log_prob.dtype == tf.float32
    assert all(weight.dtype == "float32" for weight in prior.weights)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_global_policy_changes_no_value(make, policy):
    z = normal(7, 4)
    expected = make(4).log_prob(z)
    keras.config.set_dtype_policy(policy)
    try:
        prior = make(4)
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_array_equal(prior.log_prob(z), expected)


@pytest.mark.parametrize("latents", [1, 2])
def test_the_density_integrates_to_one(make, latents):
    prior = make(latents)
    edge, points = (30.0, 60_001) if latents == 1 else (15.0, 1001)
    axis = np.linspace(-edge, edge, points, dtype=np.float32)
    grid = np.stack(np.meshgrid(*[axis] * latents), axis=-1).reshape(-1, latents)
    blocks = np.array_split(grid, 20)
    density = np.concatenate([np.exp(prior.log_prob(tf.constant(block))) for block in blocks])
    integral = density.sum(dtype=np.float64) * float(axis[1] - axis[0]) ** latents
    assert integral == pytest.approx(1, abs=1e-3)


def test_samples_are_distributed_by_the_density(make):
    prior = make(1)
    draws = 200_000
    z = prior.sample(normal(draws, 1)).numpy()[:, 0]
    edges = np.quantile(z, np.linspace(0, 1, 21)[1:-1])
    axis = np.linspace(-30, 30, 240_001, dtype=np.float32)
    density = np.exp(prior.log_prob(tf.constant(axis[:, np.newaxis])).numpy().astype(np.float64))
    distribution = np.cumsum(density) * (60 / 240_000)
    expected = np.interp(edges, axis, distribution)
    # A quantile of n draws has a standard error of at most 1 / (2 sqrt(n)) in probability.
    np.testing.assert_allclose(np.linspace(0, 1, 21)[1:-1], expected, atol=2.5 / np.sqrt(draws))


def test_gradients_are_finite_far_from_the_origin(make):
    prior = make(5)
    z = tf.concat([normal(20, 5, scale=3.0), tf.fill((1, 5), 30.0), tf.fill((1, 5), -30.0)], axis=0)
    with tf.GradientTape() as tape:
        tape.watch(z)
        total = tf.reduce_sum(prior.log_prob(z))
    variables = [weight.value for weight in prior.trainable_weights]
    for gradient in tape.gradient(total, [z, *variables]):
        assert np.isfinite(gradient).all()


def test_xla_computes_the_same(make):
    prior = make(5)
    z, noise = normal(7, 5), normal(7, 5)
    for method, argument in ((prior.log_prob, z), (prior.sample, noise)):
        compiled = tf.function(method, jit_compile=True)(argument)
        np.testing.assert_allclose(compiled, method(argument), rtol=1e-4, atol=1e-4)


def test_a_functional_step_uses_the_weights_that_it_is_given(make):
    prior = make(3)
    z = normal(7, 3)
    new = [tf.constant(weight.numpy() * 0.5) for weight in prior.weights]
    with tf.GradientTape() as tape:
        tape.watch(new)
        with keras.StatelessScope(state_mapping=list(zip(prior.weights, new, strict=True))):
            result = prior.log_prob(z)
    for gradient in tape.gradient(result, new):
        assert np.abs(gradient).max() > 0
    for weight, value in zip(prior.weights, new, strict=True):
        weight.assign(value)
    np.testing.assert_array_equal(result, prior.log_prob(z))


@pytest.mark.parametrize("name", PRIORS)
def test_a_prior_is_saved_with_its_owner(name, tmp_path):
    owner = Owner(name)
    randomize(owner)
    owner.save(tmp_path / "owner.keras")
    loaded = keras.saving.load_model(tmp_path / "owner.keras")
    z = normal(7, 3)
    np.testing.assert_array_equal(loaded.prior.log_prob(z), owner.prior.log_prob(z))
