import keras
import numpy as np
import pytest
import tensorflow as tf

from components.model.distributions import Normal
from components.model.priors.mixture import MixtureOfGaussians

RNG = np.random.default_rng(0)


def make(components: int, latents: int = 3) -> MixtureOfGaussians:
    """A mixture with random weights, means and variances."""
    keras.utils.set_random_seed(0)
    mixture = MixtureOfGaussians(latents, components=components)
    for weight in mixture.weights:
        weight.assign(RNG.normal(size=weight.shape))
    return mixture


def normal(*shape: int) -> tf.Tensor:
    return tf.constant(RNG.normal(size=shape), tf.float32)


def explicit_log_prob(mixture: MixtureOfGaussians, z: np.ndarray) -> np.ndarray:
    """The density in float64, from its definition."""
    logits, means, log_variances = (weight.numpy().astype(np.float64) for weight in mixture.weights)
    means, log_variances = (each.reshape(-1, mixture.latents) for each in (means, log_variances))
    weights = np.exp(logits) / np.exp(logits).sum()
    squares = (z[:, np.newaxis].astype(np.float64) - means) ** 2 / np.exp(log_variances)
    log_densities = -0.5 * (squares + log_variances + np.log(2 * np.pi)).sum(axis=-1)
    return np.log((weights * np.exp(log_densities)).sum(axis=-1))


# 32 components are one block.
@pytest.mark.parametrize("components", [1, 5, 32, 33, 70])
def test_the_log_density_agrees_with_its_definition(components):
    mixture, z = make(components), normal(20, 3)
    expected = explicit_log_prob(mixture, z.numpy())
    np.testing.assert_allclose(mixture.log_prob(z), expected, rtol=1e-5, atol=1e-5)


def test_one_component_is_a_normal_distribution():
    mixture, z = make(1), normal(20, 3)
    _, component = mixture.mixture()
    np.testing.assert_allclose(mixture.log_prob(z), component.log_prob(z), rtol=1e-6)


def test_narrow_components_far_from_the_origin_keep_their_digits():
    mixture = make(40)
    mixture.means.assign(mixture.means + 30)
    mixture.log_variances.assign(tf.fill((40 * 3,), -18.0))
    z = mixture.means.numpy().reshape(40, 3) + RNG.normal(size=(40, 3), scale=1e-4).astype(
        np.float32
    )
    expected = explicit_log_prob(mixture, z)
    np.testing.assert_allclose(mixture.log_prob(tf.constant(z)), expected, rtol=1e-4)


def test_the_gradients_are_those_of_the_definition():
    mixture, z = make(70), normal(20, 3)
    arguments = [z, *(weight.value for weight in mixture.weights)]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(z)
        blocked = tf.reduce_sum(mixture.log_prob(z))
        log_weights, components = mixture.mixture()
        log_densities = Normal(*vars(components).values()).log_prob(z[:, tf.newaxis])
        plain = tf.reduce_sum(tf.reduce_logsumexp(log_weights + log_densities, axis=-1))
    results, expected = tape.gradient(blocked, arguments), tape.gradient(plain, arguments)
    for result, target in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, target, rtol=1e-4, atol=1e-5)


def test_no_tensor_holds_all_differences_of_latents_and_means():
    mixture = make(320)

    @tf.function
    def gradient(z: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(z)
            total = tf.reduce_sum(mixture.log_prob(z))
        return tape.gradient(total, z)

    graph = gradient.get_concrete_function(tf.TensorSpec((50, 3))).graph
    sizes = [
        output.shape.num_elements() or 0
        for operation in graph.get_operations()
        for output in operation.outputs
        if output.shape.is_fully_defined()
    ]
    assert max(sizes) == 50 * 320  # the log-density of each component
    assert 50 * 32 * 3 in sizes


def test_samples_pick_the_components_by_their_weights():
    mixture = make(4)
    # The components are far apart, so that a draw shows its component.
    mixture.means.assign(np.repeat(100 * np.arange(4), 3))
    mixture.log_variances.assign(np.zeros(4 * 3))
    draws = 100_000
    z = mixture.sample(normal(draws, mixture.noise_size)).numpy()
    components = np.round(z / 100).astype(int)
    assert (components == components[:, :1]).all()
    frequencies = np.bincount(components[:, 0], minlength=4) / draws
    weights = tf.nn.softmax(mixture.logits).numpy()
    assert (np.abs(frequencies - weights) < 5 * np.sqrt(weights / draws)).all()
    within = z - 100 * components
    np.testing.assert_allclose(within.mean(axis=0), np.zeros(3), atol=0.03)
    np.testing.assert_allclose(within.std(axis=0), np.ones(3), atol=0.03)


def test_extreme_noise_picks_the_first_and_the_last_component():
    # The sum of 1,000 rounded weights is under 1.
    mixture = make(1000)
    mixture.logits.assign(np.zeros(1000))
    log_weights, _ = mixture.mixture()
    assert tf.cumsum(tf.exp(log_weights))[-1] < 1
    noise = tf.constant([[-20.0, 0, 0, 0], [20.0, 0, 0, 0]])
    np.testing.assert_array_equal(
        mixture.sample(noise), mixture.mixture()[1].mean.numpy()[[0, 999]]
    )


def test_a_mixture_begins_with_different_components_of_equal_weight():
    keras.utils.set_random_seed(0)
    log_weights, components = MixtureOfGaussians(5, components=2000).mixture()
    np.testing.assert_allclose(tf.exp(log_weights), np.full(2000, 1 / 2000), rtol=1e-5)
    assert len(np.unique(components.mean, axis=0)) == 2000
    mean = components.mean.numpy().mean(axis=0)
    variance = components.mean.numpy().var(axis=0) + np.exp(components.log_variance).mean(axis=0)
    np.testing.assert_allclose(mean, np.zeros(5), atol=0.06)
    np.testing.assert_allclose(variance, np.ones(5), atol=0.06)
