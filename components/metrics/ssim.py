"""The structural similarity of images (SSIM; Wang et al., 2004)."""

import numpy as np

_WINDOW = 7
# The constants of the paper, for intensities in [0, 1].
_C1, _C2 = 0.01**2, 0.03**2


def ssim(images: np.ndarray, originals: np.ndarray) -> np.ndarray:
    """The SSIM of each image with its original, in square windows of 7 pixels.

    Smaller images have one window of the largest odd size that fits.

    Args:
      images: in [0, 1], shape [N, height, width, channels].
      originals: of the same shape.

    Returns:
      The mean over windows and channels, from -1 to 1, float64, shape [N].
    """
    side = min(_WINDOW, *images.shape[1:3])
    side -= 1 - side % 2
    x, y = images.astype(np.float64), originals.astype(np.float64)

    def mean(values: np.ndarray) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(values, (side, side), axis=(1, 2))
        return windows.mean(axis=(-2, -1))

    # Of a sample of the window's pixels, so that the variances are not biased.
    unbiased = side**2 / max(side**2 - 1, 1)
    mean_x, mean_y = mean(x), mean(y)
    variance_x = unbiased * (mean(x * x) - mean_x**2)
    variance_y = unbiased * (mean(y * y) - mean_y**2)
    covariance = unbiased * (mean(x * y) - mean_x * mean_y)
    # ((2 m_x m_y + c1) (2 s_xy + c2)) / ((m_x² + m_y² + c1) (s_x² + s_y² + c2))
    similarity = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    similarity /= (mean_x**2 + mean_y**2 + _C1) * (variance_x + variance_y + _C2)
    return similarity.mean(axis=(1, 2, 3))
