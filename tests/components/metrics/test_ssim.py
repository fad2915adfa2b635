import numpy as np
import pytest

from components.metrics.ssim import ssim

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("shape", "window"), [((16, 12, 1), 7), ((9, 30, 3), 7), ((4, 9, 1), 3)])
def test_it_is_that_of_scikit_image(shape, window):
    metrics = pytest.importorskip("skimage.metrics")
    originals = RNG.random((3, *shape))
    images = np.clip(originals + 0.2 * RNG.normal(size=originals.shape), 0, 1)
    expected = [
        metrics.structural_similarity(
            a, b, win_size=window, data_range=1.0, channel_axis=-1, use_sample_covariance=True
        )
        for a, b in zip(images, originals, strict=True)
    ]
    # scikit-image leaves out the windows that reach over the border, as this module does.
    np.testing.assert_allclose(ssim(images, originals), expected, atol=1e-6)


def test_equal_images_have_the_similarity_1():
    images = RNG.random((2, 8, 8, 3))
    np.testing.assert_allclose(ssim(images, images), 1)


def test_it_does_not_depend_on_which_image_is_the_original():
    one, other = RNG.random((2, 4, 10, 10, 1))
    np.testing.assert_allclose(ssim(one, other), ssim(other, one))


def test_constant_images_are_compared_by_their_means():
    black, gray = np.zeros((1, 8, 8, 1)), np.full((1, 8, 8, 1), 0.5)
    assert ssim(black, gray)[0] == pytest.approx(1e-4 / (0.25 + 1e-4))
