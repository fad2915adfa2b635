import dataclasses
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import components.model
from components.api.trained_vae import TrainedVAE
from components.base.errors import ConfigError, WorkError
from components.metrics import elbo, importance
from components.model import interpolation
from components.model.architecture import Architecture
from components.model.registry import MODEL_FILE
from components.model.vae import VAE
from tests.conftest import ROOT

SHAPE = (8, 8, 1)
ARCHITECTURE = Architecture(SHAPE, "mlp", 3, (16,))


def built(**settings) -> TrainedVAE:
    """A model with random weights, whose decoded images differ visibly."""
    model = VAE(**dataclasses.asdict(dataclasses.replace(ARCHITECTURE, **settings)))
    rng = np.random.default_rng(0)
    weights = [rng.normal(0, 0.5, weight.shape) for weight in model.get_weights()]
    model.set_weights(weights)
    return TrainedVAE(model)


@pytest.fixture(scope="module")
def vae() -> TrainedVAE:
    return built()


@pytest.fixture(scope="module")
def conditional() -> TrainedVAE:
    return built(classes=4)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (5, *SHAPE), np.uint8)


def test_the_attribute_of_the_package_is_this_class():
    assert components.model.VAE is TrainedVAE
    with pytest.raises(AttributeError, match="no attribute 'VEA'"):
        _ = components.model.VEA


def test_the_attribute_loads_tensorflow_on_first_use_and_in_silence():
    script = (
        "import sys, components.model; assert 'tensorflow' not in sys.modules; "
        "from components.model import VAE; assert 'tensorflow' in sys.modules; "
        "import keras; assert keras.config.floatx() == 'float32'"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_trained_model_is_loaded(model_dir, example_set):
    loaded = TrainedVAE.load(model_dir)
    assert (loaded.image_shape, loaded.latents, loaded.classes) == ((28, 28, 1), 2, 0)
    images = example_set.head("test", 3).images
    expected = loaded.model(images / np.float32(255)).numpy()
    np.testing.assert_allclose(loaded.reconstruct(images), expected, atol=1e-6)


def test_a_directory_without_a_finished_model_is_rejected(examples_dir, tmp_path):
    with pytest.raises(ConfigError, match="is not a finished artifact"):
        TrainedVAE.load(tmp_path)
    with pytest.raises(ConfigError, match="was made by the prepare stage"):
        TrainedVAE.load(examples_dir)


def test_a_model_that_differs_from_its_digest_is_rejected(model_dir, tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(model_dir, copy)
    data = bytearray((copy / MODEL_FILE).read_bytes())
    data[-1] ^= 1
    (copy / MODEL_FILE).write_bytes(data)
    with pytest.raises(WorkError, match=MODEL_FILE):
        TrainedVAE.load(copy)


def test_images_of_all_forms_give_the_same_results(vae, images):
    expected = vae.reconstruct(images)
    assert (expected.dtype, expected.shape) == (np.float32, images.shape)
    assert expected.std() > 0.1
    for form in (images / 255, tf.constant(images), (images / 255).astype(np.float16)):
        np.testing.assert_array_equal(vae.reconstruct(form), expected)
    np.testing.assert_array_equal(vae.reconstruct(images[..., 0]), expected[..., 0])
    np.testing.assert_allclose(vae.reconstruct(images[2]), expected[2], atol=1e-6)
    np.testing.assert_allclose(vae.reconstruct(images[2, ..., 0]), expected[2, ..., 0], atol=1e-6)


def test_the_posterior_has_a_row_for_each_image(vae, images):
    posterior = vae.encode(images)
    expected = vae.model.posterior(images / np.float32(255))
    np.testing.assert_allclose(posterior.mean, expected.mean, atol=1e-5)
    np.testing.assert_allclose(posterior.log_variance, expected.log_variance, atol=1e-5)
    one = vae.encode(images[1])
    assert one.mean.shape == one.log_variance.shape == (3,)
    np.testing.assert_allclose(one.mean, posterior.mean[1], atol=1e-5)


def test_decoding_the_embedding_gives_the_reconstruction(vae, images):
    means = vae.encode(images).mean
    np.testing.assert_allclose(vae.decode(means), vae.reconstruct(images), atol=1e-6)
    assert vae.decode(means[0]).shape == SHAPE
    assert vae.decode(tf.constant(means)).shape == images.shape
    assert vae.decode([0, 1, 2]).shape == SHAPE


@pytest.mark.parametrize("z", [np.zeros(2), np.zeros((4, 2)), np.zeros((1, 1, 3)), 0.0, []])
def test_latents_of_another_shape_are_rejected(vae, z):
    with pytest.raises(ConfigError, match=r"z must have shape \[3\] or \[N, 3\]"):
        vae.decode(z)


@pytest.mark.parametrize("z", ["nonsense", [[0, 1, 2], [0, 1]], None])
def test_latents_that_are_no_numbers_are_rejected(vae, z):
    with pytest.raises(ConfigError, match=r"^z "):
        vae.decode(z)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_latents_that_are_not_finite_are_rejected(vae, value):
    with pytest.raises(ConfigError, match="z must be finite"):
        vae.decode([0, value, 0])


def test_samples_depend_on_the_seed_alone(vae):
    samples = vae.sample(3, seed=1)
    assert samples.shape == (3, *SHAPE)
    np.testing.assert_array_equal(samples, vae.sample(3, seed=1))
    assert np.abs(samples - vae.sample(3)).max() > 0.1
    noise = np.random.default_rng(1).standard_normal((3, 3), np.float32)
    np.testing.assert_allclose(samples, vae.decode(noise), atol=1e-6)


def test_samples_come_from_the_prior_of_the_model():
    vae = built(prior="real_nvp")
    noise = np.random.default_rng(0).standard_normal((4, vae.latents), np.float32)
    expected = vae.decode(vae.model.sample_prior(noise))
    np.testing.assert_allclose(vae.sample(4), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda vae, x: vae.sample(0), "n must be at least 1. Received: 0"),
        (lambda vae, x: vae.interpolate(x, x, 1), "steps must be at least 2. Received: 1"),
        (lambda vae, x: vae.elbo(x, samples=0), "samples must be at least 1"),
        (lambda vae, x: vae.log_likelihood(x, samples=-1), "samples must be at least 1"),
        (lambda vae, x: vae.sample(2.5), "n must be a whole number. Received: 2.5"),
        (lambda vae, x: vae.sample(True), "n must be a whole number. Received: True"),
        (lambda vae, x: vae.sample(2, seed=-1), "seed must be at least 0. Received: -1"),
        (lambda vae, x: vae.interpolate(x, x, "3"), "steps must be a whole number. Received: '3'"),
        (lambda vae, x: vae.elbo(x, seed=None), "seed must be a whole number. Received: None"),
        (lambda vae, x: vae.elbo(x, samples=1.5), "samples must be a whole number"),
        (lambda vae, x: vae.log_likelihood(x, seed=-1), "seed must be at least 0"),
        (lambda vae, x: vae.interpolate(x, x[0], 3), "two images, or two batches of as many"),
        (lambda vae, x: vae.interpolate(x, x[:2], 3), "two images, or two batches of as many"),
        (lambda vae, x: vae.interpolate(x[:1], x[0], 3), "two images, or two batches of as many"),
    ],
)
def test_wrong_numbers_are_rejected(vae, images, call, message):
    with pytest.raises(ConfigError, match=message):
        call(vae, images)


def test_an_interpolation_goes_from_one_reconstruction_to_the_other(vae, images):
    way = vae.interpolate(images[0], images[1], 4)
    assert way.shape == (4, *SHAPE)
    np.testing.assert_allclose(way[[0, -1]], vae.reconstruct(images[:2]), atol=1e-5)
    ways = vae.interpolate(images[:3, ..., 0], images[1:4, ..., 0], 4)
    assert ways.shape == (3, 4, 8, 8)
    np.testing.assert_allclose(ways[0], way[..., 0], atol=1e-5)
    np.testing.assert_allclose(ways[:, 0], vae.reconstruct(images[:3, ..., 0]), atol=1e-5)


def test_the_way_is_an_arc_for_a_standard_normal_prior_and_a_line_otherwise(images):
    for vae, function in (
        (built(), interpolation.arcs),
        (built(prior="real_nvp"), interpolation.lines),
    ):
        means = vae.encode(images[:2]).mean
        (points,) = function(means[:1], means[1:], np.linspace(0, 1, 5, dtype=np.float32))
        way = vae.interpolate(images[0], images[1], 5)
        np.testing.assert_allclose(way, vae.decode(points), atol=1e-5)
        assert vae.interpolates_on_sphere == (function is interpolation.arcs)


def test_a_hierarchy_interpolates_on_lines():
    vae = built(network="residual", widths=(4, 4, 8), latents=2, levels=2)
    assert not vae.interpolates_on_sphere
    assert vae.sample(2).shape == (2, *SHAPE)


def test_the_elbo_is_that_of_an_evaluation(vae, images):
    for options in ({"seed": 0, "samples": 1}, {"seed": 3, "samples": 4}):
        expected = elbo.estimate_elbo(vae.model, images, **options).elbo
        np.testing.assert_array_equal(vae.elbo(images, **options), expected)
    assert np.shape(vae.elbo(images[0])) == ()


def test_the_log_likelihood_is_that_of_an_evaluation(vae, images):
    many = np.resize(images, (120, *SHAPE))
    blocks = list(importance.log_likelihoods(vae.model, many, samples=7, seed=2))
    assert len(blocks) == 2
    np.testing.assert_array_equal(
        vae.log_likelihood(many, samples=7, seed=2), np.concatenate(blocks)
    )
    assert np.shape(vae.log_likelihood(images[0, ..., 0], samples=2)) == ()


def test_a_conditional_model_decodes_given_labels(conditional, images):
    labels = [0, 1, 2, 3, 0]
    batch = np.array(labels)
    expected = conditional.model(images / np.float32(255), batch).numpy()
    for form in (labels, batch, batch.astype(np.uint8), tf.constant(labels)):
        np.testing.assert_allclose(conditional.reconstruct(images, form), expected, atol=1e-6)
    np.testing.assert_allclose(conditional.reconstruct(images[3], 3), expected[3], atol=1e-6)
    assert np.abs(conditional.sample(2, labels=0) - conditional.sample(2, labels=1)).max() > 0.1
    z = conditional.encode(images).mean
    np.testing.assert_allclose(conditional.decode(z, labels), expected, atol=1e-6)
    np.testing.assert_array_equal(
        conditional.elbo(images, labels),
        elbo.estimate_elbo(conditional.model, images, batch, seed=0).elbo,
    )
    estimates = list(
        importance.log_likelihoods(conditional.model, images, batch, samples=3, seed=0)
    )
    np.testing.assert_array_equal(
        conditional.log_likelihood(images, labels, samples=3), np.concatenate(estimates)
    )


def test_the_images_on_a_way_have_the_label_of_its_ends(conditional, images):
    ways = conditional.interpolate(images[:2], images[2:4], 3, [1, 2])
    for way, first, label in zip(ways, images, (1, 2), strict=False):
        np.testing.assert_allclose(way[0], conditional.reconstruct(first, label), atol=1e-5)


@pytest.mark.parametrize("labels", [None, 4, -1, [0, 1], [[0] * 5], 0.5, "one", [0, 1, 2, 3, 4]])
def test_labels_that_a_conditional_model_does_not_know_are_rejected(conditional, images, labels):
    with pytest.raises(ConfigError, match="pass labels from 0 to 3"):
        conditional.reconstruct(images, labels)


def test_an_unconditional_model_ignores_labels(vae, images):
    np.testing.assert_array_equal(vae.reconstruct(images, 7), vae.reconstruct(images))


def test_a_model_shows_its_architecture(vae):
    assert repr(vae).startswith("<VAE of Architecture(image_shape=(8, 8, 1), network='mlp'")
