import numpy as np

from components.model import vae
from components.model.encode import ScoredPosteriors, encode_and_score
from components.model.latent_plane import Plane
from pipeline.embed import reference
from pipeline.embed.reference import Reference


def test_scores_are_distances_below_the_median_in_units_of_the_spread():
    scores = Reference(median=-100.0, spread=10.0).outlier_scores(np.float32([-100, -150, -90]))
    np.testing.assert_allclose(scores, [0, 5, -1])
    assert scores.dtype == np.float32


def test_what_is_not_known_is_none():
    assert Reference().outlier_scores(np.zeros(2, np.float32)) is None
    assert Reference().coordinates(np.zeros((2, 3), np.float32)) is None


def test_coordinates_are_those_of_the_plane():
    means = np.random.default_rng(0).normal(size=(50, 5)).astype(np.float32)
    plane = Plane.of(means)
    found = Reference(center=tuple(plane.center), axes=tuple(map(tuple, plane.axes)))
    np.testing.assert_allclose(found.coordinates(means), plane.project(means), atol=1e-6)


def test_the_training_set_itself_has_the_scores_of_a_normal_distribution(example_set, model_dir):
    model = vae.load(model_dir / "model.keras")
    found = reference.measure(model, example_set)
    examples = example_set.read("train")
    noise = np.random.default_rng(1).standard_normal((len(examples), model.latents), np.float32)
    scored = encode_and_score(model, examples.images, noise)
    scores = found.outlier_scores(scored.elbo)
    assert abs(np.median(scores)) < 0.1
    assert abs(np.quantile(scores, 0.8413) - 1) < 0.1
    # With two latents, the plane is the latent space.
    np.testing.assert_allclose(found.coordinates(scored.means), scored.means, atol=1e-6)


def test_elbos_that_are_all_equal_have_finite_scores(example_set, model_dir, monkeypatch):
    monkeypatch.setattr(ScoredPosteriors, "elbo", np.full(100, -3.0, np.float32))
    found = reference.measure(vae.load(model_dir / "model.keras"), example_set)
    assert (found.median, found.spread) == (-3.0, 1.0)


def test_without_the_training_set_only_a_plane_of_two_latents_is_known(model_dir):
    found = reference.measure(vae.load(model_dir / "model.keras"), None)
    assert found.median is None
    assert found.axes == ((1.0, 0.0), (0.0, 1.0))
    three = vae.VAE(image_shape=(4, 4, 1), network="mlp", latents=3, widths=(8,))
    assert reference.measure(three, None) == Reference()
