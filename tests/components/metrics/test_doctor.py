"""The rules of the doctor, at their limits; whole models with planted faults are elsewhere."""

import numpy as np
import pytest

from components.metrics import doctor
from components.metrics.active_units import ACTIVE_VARIANCE


def code(finding: doctor.Finding | None) -> str | None:
    """The code of a finding, whose text is one line that says what to try."""
    if finding is None:
        return None
    assert finding.severity in (doctor.ERROR, doctor.WARNING)
    assert "\n" not in finding.text
    assert ": " in finding.text
    return finding.code


@pytest.mark.parametrize(
    ("nats", "is_found"),
    [
        ((60, 55, 45, 1e9), True),
        ((60, 45, 90.1), True),
        ((60, 45, 89.9), False),  # Not twice the lowest.
        ((1e9, 60, 45), False),  # It has recovered.
        ((20, 10, 49), False),  # Still better than a constant image.
        ((20, 10, 51), True),
        ((1e9,), False),  # The held-out ELBO says what there is to say.
    ],
)
def test_a_loss_that_has_exploded_is_found(nats, is_found):
    found = doctor.diverged(nats, published=1, constant_elbo=-50.0)
    assert code(found) == ("diverged" if is_found else None)


@pytest.mark.parametrize(
    ("nats", "is_found"),
    [
        ((60, 45, 90.1), True),
        ((60, 45, 89.9), False),
        ((-100, -300, -1), False),  # Losses of densities may be negative.
        ((-100, -300, 1), True),
    ],
)
def test_a_loss_that_has_exploded_is_found_without_a_constant_image(nats, is_found):
    found = doctor.diverged(nats, published=1, constant_elbo=None)
    assert code(found) == ("diverged" if is_found else None)


@pytest.mark.parametrize(
    ("elbo", "constant_elbo", "is_found"),
    [(-49.9, -50.0, False), (-50.0, -50.0, True), (-60.0, -50.0, True), (-1e9, None, False)],
)
def test_a_model_is_compared_with_a_constant_image(elbo, constant_elbo, is_found):
    found = doctor.no_better_than_constant(elbo, kind="test", constant_elbo=constant_elbo)
    assert code(found) == ("no_better_than_constant" if is_found else None)


@pytest.mark.parametrize(
    ("rate", "is_found"), [(5.0, False), (0.1, False), (0.099, True), (0.0, True), (-0.01, True)]
)
def test_a_rate_near_0_is_a_collapsed_posterior(rate, is_found):
    found = doctor.posterior_collapse(rate, kind="test")
    assert code(found) == ("posterior_collapse" if is_found else None)
    assert found is None or found.severity == doctor.ERROR


@pytest.mark.parametrize(
    ("warmup_steps", "is_found"), [(0, False), (99, False), (100, True), (150, True)]
)
def test_a_warm_up_that_does_not_end_is_found(warmup_steps, is_found):
    found = doctor.warmup_unfinished(warmup_steps, steps=100)
    assert code(found) == ("warmup_unfinished" if is_found else None)


@pytest.mark.parametrize(
    ("reached", "beta", "is_found"),
    [
        (1.0, 1.0, False),
        (0.995, 1.0, False),
        (0.98, 1.0, True),
        (0.0, 0.0, False),
        (1.0, 4.0, True),
    ],
)
def test_a_warm_up_of_beta_that_does_not_end_is_found(reached, beta, is_found):
    found = doctor.beta_unfinished(reached, beta=beta)
    assert code(found) == ("beta_unfinished" if is_found else None)


@pytest.mark.parametrize(
    ("train", "heldout", "is_found"),
    [
        (200.0, 219.9, False),
        (200.0, 220.1, True),
        (200.0, 150.0, False),  # The training images are the harder ones.
        (-200.0, -180.1, False),
        (-200.0, -179.9, True),  # A density.
        (0.0, 0.09, False),  # Not a tenth of nearly nothing.
    ],
)
def test_a_model_that_knows_its_training_images_by_heart_is_found(train, heldout, is_found):
    found = doctor.overfitting(train, heldout, kind="test")
    assert code(found) == ("overfitting" if is_found else None)


@pytest.mark.parametrize(
    ("nats", "is_found"),
    [
        ([200.0], False),
        ([300.0, 200.0, 198.1], False),
        ([300.0, 200.0, 197.9], True),
        ([200.0, 300.0], False),
        ([-200.0, -202.1], True),
        ([-200.0, -201.9], False),
    ],
)
def test_a_loss_that_still_falls_is_found(nats, is_found):
    assert code(doctor.underfitting(nats)) == ("underfitting" if is_found else None)


@pytest.mark.parametrize(
    ("dead", "is_found"), [(0, False), (30, False), (31, True), (39, True), (40, False)]
)
def test_dead_units_are_found_unless_all_are_dead(dead, is_found):
    variances = np.where(np.arange(40) < dead, ACTIVE_VARIANCE, 1.0)
    found = doctor.dead_units(variances)
    assert code(found) == ("dead_units" if is_found else None)
    assert found is None or f"{dead} of 40 latents are dead" in found.text


def test_posteriors_that_are_absurdly_wide_are_found():
    log_variances = np.random.default_rng(0).normal(-2, 1, (100, 8)).astype(np.float32)
    assert doctor.exploding_log_variance(log_variances) is None
    log_variances[7, [2, 5]] = 19.96, 6.1
    found = doctor.exploding_log_variance(log_variances)
    assert code(found) == "exploding_log_variance"
    assert found is not None
    assert "reaches 20.0, and that of 2 of 8 latents exceeds 6" in found.text


def test_only_what_was_found_is_present():
    finding = doctor.Finding("a", doctor.WARNING, "b: c")
    assert doctor.present(None, finding, None) == [finding]
