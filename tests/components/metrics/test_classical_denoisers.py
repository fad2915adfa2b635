import numpy as np
import pytest

from components.metrics.classical_denoisers import CLASSICAL_DENOISERS, ClassicalDenoiser

RNG = np.random.default_rng(0)
# Bright squares on black, with the noise of files of bytes.
CLEAN = np.zeros((6, 20, 20, 1))
for _index, (_row, _column) in enumerate(RNG.integers(0, 10, (6, 2))):
    CLEAN[_index, _row : _row + 10, _column : _column + 10] = 0.7
NOISY = np.clip(CLEAN + 0.2 * RNG.normal(size=CLEAN.shape), 0, 1)


def error(images: np.ndarray, clean: np.ndarray = CLEAN) -> float:
    return float(np.square(images - clean).mean())


@pytest.mark.parametrize("method", CLASSICAL_DENOISERS, ids=lambda method: method.name)
def test_every_method_removes_noise(method):
    if not method.is_installed:
        pytest.skip("the extra `denoise` is not installed")
    fitted = method.fit(NOISY[:3], CLEAN[:3])
    assert fitted.choice in method.choices
    denoised = fitted(NOISY[3:])
    assert denoised.shape == (3, 20, 20, 1)
    assert 0 <= denoised.min() <= denoised.max() <= 1
    assert error(denoised, CLEAN[3:]) < 0.6 * error(NOISY[3:], CLEAN[3:])
    color = fitted(np.moveaxis(NOISY[3:6, ..., 0], 0, -1)[np.newaxis])
    assert color.shape == (1, 20, 20, 3)


def scaled(choices: tuple[float, ...]) -> ClassicalDenoiser:
    return ClassicalDenoiser("scaled", "", choices, ("numpy",), lambda x, choice: x * choice)


def test_the_best_parameter_is_chosen():
    """A parameter of 0 loses the image; the tone curve undoes any other scale."""
    clean = RNG.random((2, 8, 8, 1))
    fitted = scaled((0.0, 2.0)).fit(clean, clean)
    assert fitted.choice == 2.0
    np.testing.assert_allclose(fitted(clean), clean, atol=0.03)


def test_the_tone_curve_takes_away_the_bias_of_clipped_noise():
    black = np.clip(0.4 * RNG.normal(size=(4, 20, 20, 1)), 0, 1)
    level = black.mean()
    constant = ClassicalDenoiser(
        "mean", "", (1.0,), ("numpy",), lambda image, _: np.full_like(image, image.mean())
    )
    fitted = constant.fit(black, np.zeros_like(black))
    assert level > 0.1
    assert fitted(black).max() == 0


def test_a_method_whose_module_is_missing_says_so():
    missing = ClassicalDenoiser("none", "", (1.0,), ("no_such_module",), lambda image, _: image)
    assert not missing.is_installed
    assert scaled((1.0,)).is_installed
