import json
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.model import vae
from components.model.heads.head import DecodedLikelihood
from components.model.objective import weighted_draws
from components.model.registry import HEADS, LIKELIHOODS, NETWORKS, PRIORS
from components.model.vae import VAE

WIDTHS = {"mlp": (16, 8)} | dict.fromkeys(("conv", "keras_conv", "residual"), (4, 8, 16))
# Models in which every part occurs.
MODELS = {
    "first": {},
    "causal, flow": {"head": "causal", "prior": "real_nvp", "likelihood": "binarized"},
    "causal, 256 levels": {
        "network": "residual",
        "head": "causal",
        "likelihood": "logistic_mixture",
    },
    "one scale": {"network": "keras_conv", "likelihood": "gaussian"},
    "linear path": {
        "network": "conv",
        "likelihood": "gaussian",
        "linear_path": "principal_components",
    },
    "hierarchy": {"network": "residual", "levels": 2, "head": "causal"},
    "conditional": {"network": "conv", "classes": 4, "head": "causal"},
}
# Of the five images; models without classes ignore them.
LABELS = tf.constant([3, 0, 1, 3, 2])


def make(network: str = "mlp", image_shape=(8, 6, 1), dtype: str = "float32", **settings) -> VAE:
    keras.utils.set_random_seed(0)
    sizes = {"latents": 3, "widths": WIDTHS[network], "feature_channels": 6}
    return VAE(image_shape=image_shape, network=network, compute_dtype=dtype, **sizes | settings)


def random_images(image_shape=(8, 6, 1), count: int = 5) -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).random((count, *image_shape)), tf.float32)


def random_noise(model: VAE, count: int = 5) -> tf.Tensor:
    return tf.random.stateless_normal((count, model.latents), seed=(0, 1))


def test_every_part_is_in_some_model():
    models = [{"network": "mlp", "likelihood": "bernoulli"} | fields for fields in MODELS.values()]
    for part, names in {"network": NETWORKS, "likelihood": LIKELIHOODS}.items():
        assert {fields[part] for fields in models} == set(names)
    for part, names in {"head": HEADS, "prior": PRIORS}.items():
        default = next(iter(names))
        assert {fields.get(part, default) for fields in models} == set(names)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("image_shape", "dtype"),
    [((4, 6, 1), "mixed_float16"), ((3, 5, 3), "float32"), ((3, 5, 3), "mixed_bfloat16")],
)
def test_distributions_and_weights_are_float32_at_any_precision(name, image_shape, dtype):
    model = make(**MODELS[name], image_shape=image_shape, dtype=dtype)
    before = [weight.path for weight in model.weights]
    images = random_images(image_shape)
    posterior = model.posterior(images)
    assert posterior.mean.shape == posterior.log_variance.shape == (5, model.latents)
    assert posterior.mean.dtype == posterior.log_variance.dtype == tf.float32
    likelihood = model.likelihood(posterior.mean, LABELS)
    log_prob, mean = likelihood.log_prob(images), likelihood.mean()
    assert (log_prob.shape, mean.shape) == ((5,), images.shape)
    assert log_prob.dtype == mean.dtype == tf.float32
    assert 0 <= mean.numpy().min() <= mean.numpy().max() <= 1
    rates, distortion = model.rates_and_distortion(images, random_noise(model), LABELS)
    assert rates.shape in [(5, model.latents), (5, 1)]
    assert distortion.shape == (5,)
    assert rates.dtype == distortion.dtype == tf.float32
    assert np.isfinite(rates).all()
    assert np.isfinite(distortion).all()
    assert all(weight.dtype == "float32" for weight in model.weights)
    # All weights exist from the beginning: the training loop reads them before the first call.
    assert [weight.path for weight in model.weights] == before


def test_inner_layers_compute_in_mixed_precision():
    inner = make(dtype="mixed_bfloat16").encoder.layers[1]
    assert inner.compute_dtype == "bfloat16"


def test_rates_and_distortion_agree_with_their_definitions():
    model = make()
    x, noise = random_images(), random_noise(model)
    rates, distortion = model.rates_and_distortion(x, noise)
    mean, log_variance = np.split(model.encoder(x).numpy().astype(np.float64), 2, axis=-1)
    kl = 0.5 * (np.exp(log_variance) + mean**2 - 1 - log_variance)
    np.testing.assert_allclose(rates, kl, rtol=1e-4, atol=1e-6)
    z = mean + np.exp(log_variance / 2) * noise.numpy()
    p = 1 / (1 + np.exp(-model.decoder(z.astype(np.float32)).numpy().astype(np.float64)))
    cross_entropy = -(x * np.log(p) + (1 - x) * np.log(1 - p)).numpy().sum((1, 2, 3))
    np.testing.assert_allclose(distortion, cross_entropy, rtol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_a_log_weight_is_log_p_of_x_and_z_minus_log_q_of_z(name):
    model = make(**MODELS[name])
    images, noise = random_images(), random_noise(model, 10)
    log_weights = weighted_draws(model, images, noise, LABELS, samples=2).log_weights
    assert log_weights.shape == (5, 2)
    for draw in range(2):
        inference = model.infer(images, noise[draw::2], LABELS)
        log_likelihood = model.likelihood(inference.z, LABELS).log_prob(images)
        rate = tf.reduce_sum(inference.log_posterior - inference.log_prior, axis=-1)
        np.testing.assert_allclose(log_weights[:, draw], log_likelihood - rate, rtol=1e-4)


@pytest.mark.parametrize("prior", PRIORS)
def test_the_models_prior_gives_the_rates_and_the_samples(prior):
    model = make(prior=prior)
    images, noise = random_images(), random_noise(model)
    rates, _ = model.rates_and_distortion(images, noise)
    if prior == "standard_normal":
        assert rates.shape == (5, 3)
    else:
        inference = model.infer(images, noise)
        expected = inference.log_posterior[:, 0] - model.prior.log_prob(inference.z)
        np.testing.assert_allclose(rates[:, 0], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(model.sample_prior(noise), model.prior.sample(noise))


@pytest.mark.parametrize("head", HEADS)
def test_the_head_determines_the_likelihood(head):
    model = make(head=head)
    likelihood = model.likelihood(tf.zeros((2, 3)))
    assert isinstance(likelihood, DecodedLikelihood) == (head != "factorized")
    assert model.is_convolutional == (head != "factorized")
    outputs = 1 if head == "factorized" else 6
    assert model.decoder.output_shape == (None, 8, 6, outputs)


def test_an_extreme_input_keeps_rates_and_distortion_finite():
    model = make()
    rates, distortion = model.rates_and_distortion(random_images() * 1e6, tf.ones((5, 3)))
    assert np.isfinite(rates).all()
    assert np.isfinite(distortion).all()


@pytest.mark.parametrize("name", ["first", "causal, 256 levels", "conditional"])
def test_a_call_gives_the_likelihoods_mean_at_the_embedding(name):
    model = make(**MODELS[name], image_shape=(4, 3, 1))
    images = random_images((4, 3, 1))
    expected = model.likelihood(model.posterior(images).mode(), LABELS).mean()
    np.testing.assert_array_equal(model(images, LABELS), expected)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_decoder_of_a_conditional_model_is_given_the_latents_and_the_one_hot_label(network):
    model = make(network, classes=4)
    z = tf.random.stateless_normal((5, 3), seed=(0, 1))
    inputs = np.concatenate([z, np.eye(4)[LABELS]], axis=-1).astype(np.float32)
    expected = model.likelihood_of(model.decoder(inputs)).mean()
    np.testing.assert_allclose(model.likelihood(z, LABELS).mean(), expected, rtol=1e-6)
    assert np.abs(model.likelihood(z, LABELS[::-1]).mean() - expected).max() > 1e-3


@pytest.mark.parametrize("prior", PRIORS)
def test_the_prior_of_a_conditional_model_has_a_mean_for_each_label(prior):
    model = make(classes=4, prior=prior)
    means = np.random.default_rng(1).standard_normal((4, 3)).astype(np.float32)
    model.prior_means.set_weights([means])
    images, noise = random_images(), random_noise(model)
    shifts, condition = means[LABELS], tf.one_hot(LABELS, 4)
    expected = model.prior.sample(noise, condition) + shifts
    np.testing.assert_allclose(model.sample_prior(noise, LABELS), expected, rtol=1e-6)
    inference = model.infer(images, noise, LABELS)
    log_prior = model.prior.log_prob(inference.z - shifts, condition)
    np.testing.assert_allclose(inference.log_prior[:, 0], log_prior, rtol=1e-5, atol=1e-5)
    if prior == "standard_normal":
        # KL(N(m, s²) || N(a, 1)) = ½ (s² + (m - a)² - 1 - log s²)
        q = model.posterior(images)
        square = tf.square(q.mean - shifts)
        rates = 0.5 * (tf.exp(q.log_variance) + square - 1 - q.log_variance)
        np.testing.assert_allclose(inference.rates, rates, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "use",
    [
        lambda model, images, noise: model.sample_prior(noise),
        lambda model, images, noise: model(images),
        lambda model, images, noise: model.likelihood(noise),
        lambda model, images, noise: model.infer(images, noise),
        lambda model, images, noise: model.rates_and_distortion(images, noise),
        lambda model, images, noise: weighted_draws(model, images, noise, samples=1),
    ],
)
def test_a_conditional_model_needs_labels_to_decode(use):
    model = make(classes=4)
    with pytest.raises(ValueError, match="model of 4 classes needs the labels of the images"):
        use(model, random_images(), random_noise(model))


def test_another_model_ignores_labels():
    model = make()
    np.testing.assert_array_equal(model(random_images(), LABELS), model(random_images()))


def test_a_hierarchy_is_not_conditioned_on_labels():
    with pytest.raises(ValueError, match="a hierarchy of latents is not conditioned on labels"):
        make("residual", levels=2, classes=4)


def test_pixels_that_share_a_scale_are_not_decoded_in_turn():
    with pytest.raises(ValueError, match="likelihood gaussian needs head factorized"):
        make(head="causal", likelihood="gaussian")


@pytest.mark.parametrize("name", MODELS)
def test_a_saved_model_is_loaded_unchanged(name, tmp_path):
    model = make(**MODELS[name], dtype="mixed_bfloat16").in_float32()
    rng = np.random.default_rng(0)
    model.set_weights([w + 0.1 * rng.normal(size=w.shape) for w in model.get_weights()])
    model.save(tmp_path / "model.keras")
    loaded = vae.load(tmp_path / "model.keras")
    assert loaded.architecture == model.architecture
    for one, other in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    noise = random_noise(model)
    for one, other in zip(
        loaded.rates_and_distortion(random_images(), noise, LABELS),
        model.rates_and_distortion(random_images(), noise, LABELS),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("network", ["mlp", "conv", "keras_conv"])
def test_a_file_of_a_model_without_the_later_settings_is_loaded(network, tmp_path):
    model = make(network)
    model.save(tmp_path / "new.keras")
    with (
        zipfile.ZipFile(tmp_path / "new.keras") as new,
        zipfile.ZipFile(tmp_path / "old.keras", "w") as old,
    ):
        for name in new.namelist():
            content = new.read(name)
            if name == "config.json":
                saved = json.loads(content)
                first = ("image_shape", "network", "latents", "widths", "compute_dtype")
                kept = {"name", "trainable", "dtype", *first}
                assert kept < set(saved["config"])
                saved["config"] = {key: saved["config"][key] for key in kept}
                content = json.dumps(saved).encode()
            old.writestr(name, content)
    loaded = vae.load(tmp_path / "old.keras")
    np.testing.assert_array_equal(loaded(random_images()), model(random_images()))


def test_the_saved_config_is_the_arguments_of_the_constructor():
    """Files of earlier versions hold these names: renaming one would make them unreadable."""
    config = make("conv").get_config()
    arguments = {
        "image_shape": (8, 6, 1),
        "network": "conv",
        "latents": 3,
        "widths": (4, 8, 16),
        "compute_dtype": "float32",
    }
    assert arguments.items() <= config.items()
    assert keras.saving.get_registered_name(VAE) == "vae_pipeline>VAE"
    shapes = [weight.shape for weight in VAE.from_config(config).weights]
    assert shapes == [weight.shape for weight in make("conv").weights]


@pytest.mark.parametrize("name", MODELS)
def test_in_float32_keeps_the_weights_and_changes_only_the_precision(name):
    mixed = make(**MODELS[name], dtype="mixed_bfloat16")
    exact = mixed.in_float32()
    assert exact.architecture == mixed.architecture
    for one, other in zip(mixed.get_weights(), exact.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    policies = {layer.compute_dtype for layer in exact._flatten_layers()}
    assert policies == {"float32"}
    one, other = (
        model.rates_and_distortion(random_images(), random_noise(model), LABELS)[1]
        for model in (mixed, exact)
    )
    np.testing.assert_allclose(one, other, rtol=0.05)


def test_in_float32_accepts_other_weights_and_leaves_the_model_unchanged():
    model = make(dtype="mixed_bfloat16")
    before = model.get_weights()
    others = [weight + 1 for weight in before]
    for copied, other in zip(model.in_float32(others).get_weights(), others, strict=True):
        np.testing.assert_array_equal(copied, other)
    for after, weight in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(after, weight)
