"""Most tests are on a linear-Gaussian model, whose bounds and gradients can be integrated.

The noise of a draw has one dimension. At the nodes of a Gauss-Hermite rule and with its weights,
means over the noise are exact to many digits, so that no test depends on random numbers.
"""

import functools
import itertools
import math
from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.model import objective
from components.model.distributions import Normal
from components.model.inference import OneLevel, PosteriorDraws
from components.model.objective import Elbo, ImportanceWeighted, Losses, Objective
from components.model.priors.flow import RealNVP
from components.model.priors.standard_normal import StandardNormal
from components.model.vae import VAE

# One image of two pixels, and the model x = z * weights + noise, with z ~ N(0, 1).
IMAGE = np.array([0.9, -0.6])
WEIGHTS = np.array([[1.1, -0.4]])
LOG_VARIANCE = math.log(0.5)
# The mean and the log-variance of a posterior that is not exact.
POSTERIOR = np.array([0.3, -0.2])

PRECISION = 1 + float(np.square(WEIGHTS).sum()) / math.exp(LOG_VARIANCE)
EXACT_POSTERIOR = np.array(
    [float(WEIGHTS[0] @ IMAGE) / math.exp(LOG_VARIANCE) / PRECISION, -math.log(PRECISION)]
)

OBJECTIVES = {
    "elbo": Elbo(),
    "path_derivative": Elbo(path_derivative=True),
    "importance_weighted": ImportanceWeighted(2),
}


class LinearGaussian:
    """A model with given parameters of the posterior and weights of the decoder.

    Args:
      posterior: mean and log-variance of each example, shape [batch, 2].
      weights: shape [1, pixels].
      prior: by default N(0, 1).
    """

    latents = 1

    def __init__(self, posterior: tf.Tensor, weights: tf.Tensor, prior=None):
        latent_model = OneLevel(
            lambda images: posterior, prior or StandardNormal(1), lambda z: z @ weights
        )
        self._infer = latent_model.infer

    def infer(self, images: tf.Tensor, noise: tf.Tensor, labels=None, **options) -> PosteriorDraws:
        return self._infer(images, noise, **options)

    def distortion(self, images: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        return -Normal(features, tf.fill(tf.shape(features), LOG_VARIANCE)).log_prob(images)


class Estimates:
    """The losses of an objective at each of many draws of the noise, and their gradients.

    Args:
      given: the objective.
      noise: shape [draws, samples].
      posterior: mean and log-variance.
      prior: of the model; None for N(0, 1).
    """

    def __init__(self, given: Objective, noise, *, posterior=POSTERIOR, beta=1.0, prior=None):
        count = len(noise)
        parameters = tf.constant(np.tile(posterior, (count, 1)), tf.float32)
        weights = tf.constant(WEIGHTS, tf.float32)
        images = tf.constant(np.tile(IMAGE, (count, 1)), tf.float32)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([parameters, weights])
            self.losses: Losses = given(
                LinearGaussian(parameters, weights, prior),
                images,
                tf.constant(noise, tf.float32),
                beta=tf.constant(beta),
                free_bits=0.0,
            )
        # One row for each draw, since no row of the parameters has an effect on another's loss.
        self.posterior_gradients = tape.gradient(self.losses.loss, parameters).numpy()
        self.decoder_gradient = tape.gradient(self.losses.loss, weights).numpy()
        if prior is not None:
            self.prior_gradients = tape.gradient(self.losses.loss, prior.trainable_variables)


@functools.cache
def quadrature(samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes of noise [draws, samples], and their weights, which sum to 1, [draws]."""
    nodes, weights = np.polynomial.hermite_e.hermegauss({1: 60, 2: 40, 3: 32}[samples])
    weights = weights / weights.sum()
    grid = np.array(list(itertools.product(nodes, repeat=samples)))
    return grid, np.prod(list(itertools.product(weights, repeat=samples)), axis=-1)


def bound(posterior: np.ndarray, samples: int, beta: float = 1.0) -> float:
    """The mean of log 1/k Σ p(x|z) (p(z) / q(z|x))^beta over k draws, from its definition."""
    noise, shares = quadrature(samples)
    mean, log_variance = posterior

    def log_density(value, center, log_variance):
        squares = (value - center) ** 2 / np.exp(log_variance)
        return -0.5 * (squares + log_variance + np.log(2 * np.pi))

    z = mean + np.exp(log_variance / 2) * noise
    images = z[..., np.newaxis] * WEIGHTS[0]
    log_weights = log_density(IMAGE, images, LOG_VARIANCE).sum(axis=-1)
    log_weights += beta * (log_density(z, 0, 0) - log_density(z, mean, log_variance))
    return float(shares @ np.log(np.exp(log_weights).mean(axis=-1)))


def derivative(function: Callable[[np.ndarray], float], at: np.ndarray) -> np.ndarray:
    """The gradient of a function, by central differences."""
    steps = 1e-5 * np.eye(len(at))
    return np.array([(function(at + step) - function(at - step)) / 2e-5 for step in steps])


def log_evidence() -> float:
    """log p(x): x is normal with the covariance matrix W Wᵀ + s² I."""
    covariance = WEIGHTS.T @ WEIGHTS + math.exp(LOG_VARIANCE) * np.eye(2)
    squares = IMAGE @ np.linalg.solve(covariance, IMAGE)
    return -0.5 * (squares + np.linalg.slogdet(2 * np.pi * covariance)[1])


def divergence_from_exact_posterior(posterior: np.ndarray) -> float:
    (m, log_s), (n, log_t) = posterior, EXACT_POSTERIOR
    return 0.5 * (np.exp(log_s - log_t) + (m - n) ** 2 / np.exp(log_t) - 1 - log_s + log_t)


@pytest.mark.parametrize("name", ["elbo", "path_derivative"])
def test_the_mean_loss_is_the_negative_elbo_in_closed_form(name):
    noise, shares = quadrature(1)
    losses = Estimates(OBJECTIVES[name], noise).losses
    elbo = log_evidence() - divergence_from_exact_posterior(POSTERIOR)
    assert shares @ losses.loss.numpy() == pytest.approx(-elbo, rel=1e-5)
    # KL(N(m, s²) || N(0, 1)) = ½ (s² + m² - 1 - log s²)
    mean, log_variance = POSTERIOR
    rate = 0.5 * (np.exp(log_variance) + mean**2 - 1 - log_variance)
    assert shares @ losses.rate.numpy() == pytest.approx(rate, rel=1e-4)
    assert shares @ losses.distortion.numpy() == pytest.approx(-elbo - rate, rel=1e-5)


@pytest.mark.parametrize("beta", [1.0, 0.4])
@pytest.mark.parametrize("samples", [1, 2, 3])
def test_the_mean_loss_of_several_draws_is_their_bound(samples, beta):
    noise, shares = quadrature(samples)
    losses = Estimates(ImportanceWeighted(samples), noise, beta=beta).losses
    expected = -bound(POSTERIOR, samples, beta)
    assert shares @ losses.loss.numpy() == pytest.approx(expected, rel=1e-5)
    # Rate and distortion are those of the ELBO, whatever the objective.
    elbo = -(shares @ (losses.rate + losses.distortion).numpy())
    assert elbo == pytest.approx(bound(POSTERIOR, 1), rel=1e-5)


@pytest.mark.parametrize("beta", [1.0, 0.4])
@pytest.mark.parametrize(
    "given",
    [Elbo(), Elbo(path_derivative=True), *(ImportanceWeighted(k) for k in (1, 2, 3))],
    ids=str,
)
def test_the_mean_gradient_of_the_posterior_is_that_of_the_bound(given, beta):
    noise, shares = quadrature(given.samples)
    gradients = Estimates(given, noise, beta=beta).posterior_gradients
    expected = derivative(lambda posterior: -bound(posterior, given.samples, beta), POSTERIOR)
    np.testing.assert_allclose(shares @ gradients, expected, rtol=1e-3, atol=1e-4)


def test_only_the_path_derivative_of_the_posterior_is_another_estimate():
    noise = np.random.default_rng(0).normal(size=(50, 1))
    prior = RealNVP(1, widths=(4,))
    one, other = (
        Estimates(OBJECTIVES[name], noise, beta=0.7, prior=prior)
        for name in ("elbo", "path_derivative")
    )
    np.testing.assert_allclose(one.losses.loss, other.losses.loss, rtol=1e-6)
    np.testing.assert_allclose(one.decoder_gradient, other.decoder_gradient, rtol=1e-5)
    for ours, expected in zip(one.prior_gradients, other.prior_gradients, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(one.posterior_gradients, other.posterior_gradients, rtol=0.01)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_at_the_exact_posterior_only_the_path_derivative_has_no_variance(name):
    """There, p(x, z) / q(z|x) is p(x) at every z, and the ELBO is log p(x)."""
    noise, shares = quadrature(OBJECTIVES[name].samples)
    estimates = Estimates(OBJECTIVES[name], noise, posterior=EXACT_POSTERIOR)
    likely = shares > 1e-6
    gradients = estimates.posterior_gradients[likely]
    if name == "path_derivative":
        np.testing.assert_allclose(gradients, np.zeros_like(gradients), atol=3e-5)
    else:
        assert np.abs(gradients).max() > 0.1
    if name != "elbo":
        np.testing.assert_allclose(estimates.losses.loss[likely], -log_evidence(), rtol=1e-5)
    assert shares @ estimates.losses.loss.numpy() == pytest.approx(-log_evidence(), rel=1e-5)


def test_more_draws_close_the_gap_between_the_elbo_and_the_log_likelihood():
    bounds = []
    for samples in (1, 2, 3):
        noise, shares = quadrature(samples)
        bounds.append(-shares @ Estimates(ImportanceWeighted(samples), noise).losses.loss.numpy())
    elbo = log_evidence() - divergence_from_exact_posterior(POSTERIOR)
    assert bounds[0] == pytest.approx(elbo, rel=1e-5)
    assert bounds[0] + 0.01 < bounds[1] < bounds[2] - 0.01 < log_evidence() - 0.02
    noise = np.random.default_rng(0).normal(size=(100, 2000))
    losses = Estimates(ImportanceWeighted(2000), noise).losses.loss.numpy()
    assert -losses.mean() == pytest.approx(log_evidence(), abs=0.005)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_examples_loss_does_not_depend_on_other_examples(name):
    given = OBJECTIVES[name]
    rng = np.random.default_rng(0)
    posterior, images = (tf.constant(rng.normal(size=(5, 2)), tf.float32) for _ in range(2))
    noise = tf.constant(rng.normal(size=(5, given.samples)), tf.float32)

    def losses(rows: slice) -> Losses:
        model = LinearGaussian(posterior[rows], tf.constant(WEIGHTS, tf.float32))
        return given(model, images[rows], noise[rows], beta=tf.constant(2.0), free_bits=0.45)

    together = losses(slice(None))
    separate = [losses(slice(index, index + 1)) for index in range(5)]
    for field in Losses._fields:
        expected = np.concatenate([getattr(each, field) for each in separate])
        np.testing.assert_allclose(getattr(together, field), expected, rtol=1e-5, atol=1e-6)


# --- the loss, given rates and distortions --------------------------------------------------------


class GivenTerms:
    """A model that draws nothing: its rates and distortions are given.

    Args:
      rates: shape [draws, dimensions or levels].
      distortion: shape [draws].
      is_closed: whether the rates are closed forms, by dimension.
    """

    latents = 1

    def __init__(self, rates: tf.Tensor, distortion: tf.Tensor, *, is_closed: bool):
        nothing = tf.zeros_like(rates)
        self._inference = PosteriorDraws(
            z=nothing,
            features=nothing,
            log_posterior=nothing if is_closed else rates,
            log_prior=nothing,
            closed_form_rates=rates if is_closed else None,
        )
        self._distortion = distortion

    def infer(self, images, noise, labels=None, **options) -> PosteriorDraws:
        return self._inference

    def distortion(self, images, features) -> tf.Tensor:
        return self._distortion


RATES = tf.constant([[0.1, 2.0, 0.0], [0.5, 0.4, 3.0]])
DISTORTION = tf.constant([10.0, 20.0])


def given_losses(given: Objective, *, is_closed: bool, beta: float, free_bits: float) -> Losses:
    model = GivenTerms(RATES, DISTORTION, is_closed=is_closed)
    examples = 2 // given.samples
    return given(
        model,
        tf.zeros((examples, 2)),
        tf.zeros((examples, given.samples)),
        beta=tf.constant(beta),
        free_bits=free_bits,
    )


@pytest.mark.parametrize("is_closed", [True, False])
@pytest.mark.parametrize("beta", [0.0, 0.25, 1.0, 4.0])
def test_beta_weights_the_rate(beta, is_closed):
    losses = given_losses(Elbo(), is_closed=is_closed, beta=beta, free_bits=0.0)
    np.testing.assert_allclose(losses.loss, [10 + beta * 2.1, 20 + beta * 3.9], rtol=1e-6)
    np.testing.assert_allclose(losses.rate, [2.1, 3.9], rtol=1e-6)
    np.testing.assert_allclose(losses.distortion, [10, 20])


@pytest.mark.parametrize("is_closed", [True, False])
def test_free_bits_are_a_floor_for_each_rate_of_each_example(is_closed):
    losses = given_losses(Elbo(), is_closed=is_closed, beta=2.0, free_bits=0.45)
    expected = [10 + 2 * (0.45 + 2.0 + 0.45), 20 + 2 * (0.5 + 0.45 + 3.0)]
    np.testing.assert_allclose(losses.loss, expected, rtol=1e-6)
    # What is measured has no floor.
    np.testing.assert_allclose(losses.rate, [2.1, 3.9], rtol=1e-6)


def test_several_draws_have_beta_and_free_bits_too():
    losses = given_losses(ImportanceWeighted(2), is_closed=False, beta=2.0, free_bits=0.45)
    log_weights = np.array([-(10 + 2 * 2.9), -(20 + 2 * 3.95)])
    np.testing.assert_allclose(losses.loss, [-np.log(np.exp(log_weights).mean())], rtol=1e-6)
    np.testing.assert_allclose(losses.rate, [3.0], rtol=1e-6)
    np.testing.assert_allclose(losses.distortion, [15.0])


def test_a_rate_below_the_free_bits_has_no_gradient_and_one_above_has_its_full_gradient():
    """The rate of N(m, s²) is ½ (s² + m² - 1 - log s²), and its derivative by m is m."""
    mean = tf.constant([[0.1, 0.9, 2.0, -3.0]])
    with tf.GradientTape() as tape:
        tape.watch(mean)
        rates = StandardNormal(4).kl_by_dimension(Normal(mean, tf.zeros((1, 4))))
        model = GivenTerms(rates, tf.zeros(1), is_closed=True)
        losses = Elbo()(model, tf.zeros((1, 2)), mean, beta=tf.constant(0.5), free_bits=1.0)
    np.testing.assert_allclose(rates, [[0.005, 0.405, 2.0, 4.5]], rtol=1e-5)
    np.testing.assert_allclose(tape.gradient(losses.loss, mean), [[0, 0, 1.0, -1.5]], rtol=1e-6)


def test_objectives_are_built_from_a_number_of_draws():
    assert objective.elbo(1) == Elbo()
    assert objective.path_derivative(1) == Elbo(path_derivative=True)
    assert objective.importance_weighted(5) == ImportanceWeighted(5)
    assert (objective.elbo(1).samples, objective.importance_weighted(5).samples) == (1, 5)


def test_objectives_describe_themselves():
    assert {name: given.description for name, given in OBJECTIVES.items()} == {
        "elbo": "the ELBO",
        "path_derivative": "the ELBO by its path derivative",
        "importance_weighted": "the importance-weighted bound of 2 draws",
    }


@pytest.mark.parametrize("given", OBJECTIVES.values(), ids=OBJECTIVES)
def test_every_example_is_decoded_with_its_own_label(given):
    """In a batch, with any number of draws, as alone."""
    keras.utils.set_random_seed(0)
    vae = VAE(
        image_shape=(2, 3, 1), network="mlp", latents=2, widths=(5,), classes=3, activation="silu"
    )
    rng = np.random.default_rng(0)
    images = tf.constant(rng.random((3, 2, 3, 1)), tf.float32)
    noise = tf.constant(rng.normal(size=(3, 2 * given.samples)), tf.float32)
    labels = tf.constant([2, 0, 1])

    def loss(rows: slice, labels: tf.Tensor) -> np.ndarray:
        terms = {"beta": tf.constant(0.7), "free_bits": 0.1}
        return given(vae, images[rows], noise[rows], labels[rows], **terms).loss.numpy()

    together = loss(slice(None), labels)
    alone = [loss(slice(row, row + 1), labels)[0] for row in range(3)]
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    assert (np.abs(loss(slice(None), labels[::-1]) - together)[[0, 2]] > 1e-3).all()


@pytest.mark.parametrize("given", OBJECTIVES.values(), ids=OBJECTIVES)
def test_the_encoder_sees_other_images_than_those_of_the_likelihood(given):
    rng = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    vae = VAE(image_shape=(3, 2, 1), network="mlp", latents=2, widths=(4,))
    images, seen = (tf.constant(rng.random((5, 3, 2, 1)), tf.float32) for _ in range(2))
    noise = tf.constant(rng.standard_normal((5, 2 * given.samples)), tf.float32)
    options = {"beta": tf.constant(1.0), "free_bits": 0.0}
    found = given(vae, images, noise, seen=seen, **options)
    np.testing.assert_allclose(found.rate, given(vae, seen, noise, **options).rate, rtol=1e-5)
    z = vae.infer(seen, tf.reshape(noise, [-1, 2]), samples=given.samples).z
    clean = tf.repeat(images, given.samples, axis=0)
    distortion = tf.reshape(-vae.likelihood(z).log_prob(clean), [5, given.samples])
    np.testing.assert_allclose(found.distortion, tf.reduce_mean(distortion, axis=1), rtol=1e-5)
