import numpy as np
import pytest

from components.model.priors import aggregate
from components.model.priors.aggregate import AggregatePosterior, fit_aggregate

COVARIANCES = np.array([[[2.0, 0.8], [0.8, 1.0]], [[0.5, -0.2], [-0.2, 0.8]]])
CENTERS = np.array([[-4.0, 1.0], [4.0, 2.0]])
VARIANCES = np.array([0.1, 0.3])


def posteriors(n: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Means and log-variances of posteriors whose aggregate is known.

    It has the weights 1/4 and 3/4, and the means and covariances above.
    """
    rng = np.random.default_rng(0)
    means = [
        rng.multivariate_normal(center, covariance - np.diag(VARIANCES), size=count)
        for center, covariance, count in zip(
            CENTERS, COVARIANCES, (n // 4, 3 * n // 4), strict=True
        )
    ]
    return np.concatenate(means), np.tile(np.log(VARIANCES), (n, 1))


def mixture() -> AggregatePosterior:
    return AggregatePosterior(np.array([0.25, 0.75]), CENTERS, COVARIANCES)


def test_a_fit_finds_the_aggregate_of_known_normals():
    fitted = fit_aggregate(*posteriors(), components=2, seed=0)
    order = np.argsort(fitted.means[:, 0])
    np.testing.assert_allclose(fitted.weights[order], [0.25, 0.75], atol=0.01)
    np.testing.assert_allclose(fitted.means[order], CENTERS, atol=0.05)
    np.testing.assert_allclose(fitted.covariances[order], COVARIANCES, atol=0.06)


@pytest.mark.parametrize("latents", [1, 4])
def test_one_component_has_the_moments_of_the_aggregate(latents):
    rng = np.random.default_rng(0)
    means, log_variances = rng.normal(size=(2, 500, latents)).astype(np.float32)
    fitted = fit_aggregate(means, log_variances, components=1, seed=0)
    np.testing.assert_allclose(fitted.weights, [1])
    np.testing.assert_allclose(fitted.means[0], means.mean(axis=0), rtol=1e-4, atol=1e-6)
    expected = np.cov(means, rowvar=False, bias=True) + np.diag(np.exp(log_variances).mean(axis=0))
    np.testing.assert_allclose(fitted.covariances[0], expected, rtol=1e-5, atol=1e-5)


def test_a_fit_gains_over_its_start_and_over_fewer_components():
    points, narrow = posteriors(2000)[0], np.full((2000, 2), -10.0)
    arguments = {"seed": 1, "tolerance": 1e-6}
    scores = [
        fit_aggregate(points, narrow, components=k, max_iterations=n, **arguments)
        .log_prob(points)
        .mean()
        for k, n in ((1, 100), (2, 0), (2, 100))
    ]
    assert scores[0] < scores[2] - 0.5
    assert scores[1] < scores[2]


def test_a_fit_ends_when_an_iteration_gains_less_than_the_tolerance():
    arguments = {"components": 3, "seed": 0}
    tolerant = fit_aggregate(*posteriors(400), **arguments, tolerance=100)
    one = fit_aggregate(*posteriors(400), **arguments, max_iterations=1)
    many = fit_aggregate(*posteriors(400), **arguments, max_iterations=5)
    np.testing.assert_array_equal(tolerant.means, one.means)
    assert (one.means != many.means).any()


def test_equal_arguments_give_equal_fits_and_samples():
    first, second = (fit_aggregate(*posteriors(400), components=3, seed=5) for _ in range(2))
    for name in ("weights", "means", "covariances"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    np.testing.assert_array_equal(first.sample(10, seed=1), second.sample(10, seed=1))
    assert (first.sample(10, seed=1) != first.sample(10, seed=2)).all()


def test_the_size_of_a_block_changes_no_result(monkeypatch):
    arguments = {"components": 3, "seed": 0}
    expected = fit_aggregate(*posteriors(400), **arguments)
    # Blocks of 7 rows, the last one smaller.
    monkeypatch.setattr(aggregate, "_BLOCK_NUMBERS", 28)
    result = fit_aggregate(*posteriors(400), **arguments)
    np.testing.assert_allclose(result.means, expected.means, rtol=1e-6)
    np.testing.assert_allclose(result.covariances, expected.covariances, rtol=1e-6, atol=1e-9)
    z = result.sample(50, seed=0)
    np.testing.assert_allclose(result.log_prob(z), expected.log_prob(z), rtol=1e-6)


def test_narrow_components_far_from_the_origin_keep_their_digits():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(500, 2), scale=1e-3) + 30
    fitted = fit_aggregate(points, np.full((500, 2), -14.0), components=1, seed=0)
    expected = np.cov(points, rowvar=False, bias=True) + np.exp(-14) * np.eye(2)
    np.testing.assert_allclose(fitted.covariances[0], expected, rtol=1e-6)


def test_the_log_density_agrees_with_its_definition():
    z = np.random.default_rng(0).normal(size=(10, 2))
    density = 0
    for weight, center, covariance in zip((0.25, 0.75), CENTERS, COVARIANCES, strict=True):
        squares = np.einsum("ni,ij,nj->n", z - center, np.linalg.inv(covariance), z - center)
        volume = 2 * np.pi * np.sqrt(np.linalg.det(covariance))
        density += weight * np.exp(-0.5 * squares) / volume
    np.testing.assert_allclose(mixture().log_prob(z), np.log(density))


def test_the_log_density_is_finite_far_from_all_components():
    assert np.isfinite(mixture().log_prob(np.full((1, 2), 1e6))).all()


def test_samples_have_the_moments_of_the_mixture():
    z = mixture().sample(200_000, seed=0)
    assert z.shape == (200_000, 2)
    is_first = z[:, 0] < 0.5  # four standard deviations from both centers
    assert is_first.mean() == pytest.approx(0.25, abs=0.01)
    for part, center, covariance in zip(
        (z[is_first], z[~is_first]), CENTERS, COVARIANCES, strict=True
    ):
        np.testing.assert_allclose(part.mean(axis=0), center, atol=0.03)
        np.testing.assert_allclose(np.cov(part, rowvar=False), covariance, atol=0.05)


@pytest.mark.parametrize("components", [1, 3, 6])
def test_equal_posteriors_and_components_without_points_are_no_trouble(components):
    means = np.repeat([[1.0, 2.0]], 6, axis=0)
    fitted = fit_aggregate(means, np.zeros((6, 2)), components=components, seed=0)
    np.testing.assert_allclose(fitted.means, means[:components])
    np.testing.assert_allclose(fitted.covariances, [np.eye(2)] * components)
    assert fitted.weights.sum() == pytest.approx(1)
    assert np.isfinite(fitted.sample(100, seed=0)).all()


@pytest.mark.parametrize("components", [0, 7])
def test_a_number_of_components_out_of_range_is_refused(components):
    with pytest.raises(ValueError, match=f"from 1 to the 6 examples. Received: {components}"):
        fit_aggregate(np.zeros((6, 2)), np.zeros((6, 2)), components=components, seed=0)


def test_the_temperature_scales_the_covariances_around_the_means():
    normal = AggregatePosterior(np.ones(1), CENTERS[:1], COVARIANCES[:1])
    draws = normal.sample(50_000, seed=0, temperature=0.5)
    np.testing.assert_allclose(draws.mean(axis=0), CENTERS[0], atol=0.01)
    np.testing.assert_allclose(np.cov(draws, rowvar=False), COVARIANCES[0] / 4, atol=0.01)
    warm, cold = (mixture().sample(100, seed=3, temperature=each) for each in (1.0, 0.0))
    np.testing.assert_array_equal(np.unique(cold, axis=0), CENTERS)
    np.testing.assert_array_equal(warm, mixture().sample(100, np.random.default_rng(3)))
