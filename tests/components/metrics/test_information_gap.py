import math

import numpy as np
import pytest

from components.metrics.information_gap import information_gap, label_information

COUNT = 4000
LABELS = np.arange(COUNT) % 4


def latents(*columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Posterior means of the given dimensions, and narrow posteriors."""
    means = np.stack(columns, axis=1).astype(np.float32)
    return means, np.full(means.shape, -6.0, np.float32)


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=COUNT)


# Places well inside of different bins.
FOUR, TWO = LABELS * 2.0, LABELS // 2 * 5.0


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ((FOUR, noise(0)), 1.0),
        ((noise(0), TWO), 0.5),
        ((FOUR, TWO), 0.5),
        ((FOUR, noise(0), FOUR), 0.0),
        ((noise(0), noise(1)), 0.0),
        ((FOUR,), 1.0),
    ],
    ids=["one knows all", "one knows half", "second knows half", "two know all", "none", "single"],
)
def test_the_gap_of_planted_dimensions(columns, expected):
    gaps = information_gap(*latents(*columns), LABELS)
    assert gaps.shape == (COUNT,)
    assert gaps.mean() == pytest.approx(expected, abs=0.02)


def test_the_information_of_dimensions_that_know_a_half_is_that_of_a_discrete_toy():
    information = label_information(*latents(FOUR, TWO, noise(0)), LABELS).mean(axis=0)
    assert information[0] == pytest.approx(math.log(4), abs=1e-3)
    assert information[1] == pytest.approx(math.log(2), abs=1e-3)
    # The bias of 19 * 3 / (2 * 4000) nats is below this.
    assert 0 <= information[2] < 0.02


def test_a_wide_posterior_hides_the_label():
    """Two classes at -m and m with variance s²: the information of z is below that of its mean."""
    means = np.where(LABELS % 2, 0.5, -0.5)[:, np.newaxis].astype(np.float32)
    information = label_information(means, np.zeros(means.shape), LABELS % 2).mean()
    # By numerical integration: log 2 less the mean entropy of the label given z.
    z = np.linspace(-8, 8, 20001)
    one, two = (np.exp(-0.5 * np.square(z - m)) / math.sqrt(2 * math.pi) for m in (-0.5, 0.5))
    mixture = 0.5 * (one + two)
    exact = np.sum(0.5 * (one * np.log(one / mixture) + two * np.log(two / mixture)))
    exact *= z[1] - z[0]
    # Bins lose a little.
    assert 0.97 * exact < information <= exact


def test_a_collapsed_dimension_knows_nothing():
    rng = np.random.default_rng(0)
    means = 1e-6 * LABELS[:, np.newaxis] + rng.normal(scale=1e-7, size=(COUNT, 1))
    information = label_information(means, np.zeros(means.shape), LABELS)
    np.testing.assert_allclose(information, 0, atol=1e-4)


def test_the_order_of_examples_and_the_names_of_labels_do_not_matter():
    order = np.random.default_rng(0).permutation(COUNT)
    means, log_variances = latents(FOUR + noise(1), TWO + noise(0))
    values = label_information(means, log_variances, LABELS)
    others = label_information(means[order], log_variances[order], 100 - 7 * LABELS[order])
    np.testing.assert_allclose(others, values[order], rtol=1e-9, atol=1e-12)
