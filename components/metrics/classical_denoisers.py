"""Classical denoisers, without learning, with the best parameter for a set of images.

They need the extra `denoise`: the Gaussian and the median filter of SciPy, non-local means (Buades
et al., 2005) of scikit-image, and BM3D (Dabov et al., 2007) of its authors.
"""

import dataclasses
import importlib.util
from collections.abc import Callable

import numpy as np

from components.metrics.psnr import psnr_of

_CURVE_POINTS = 32


@dataclasses.dataclass(frozen=True)
class ClassicalDenoiser:
    """A denoiser with a parameter.

    Attributes:
      name: of the method, in text.
      parameter: name of the parameter, in text.
      choices: values of the parameter to choose from.
      modules: the modules that it needs.
      function: from an image [height, width, channels] in [0, 1] and a parameter to an image.
    """

    name: str
    parameter: str
    choices: tuple[float, ...]
    modules: tuple[str, ...]
    function: Callable[[np.ndarray, float], np.ndarray]

    @property
    def is_installed(self) -> bool:
        """Whether the modules that it needs are installed."""
        return all(importlib.util.find_spec(name) for name in self.modules)

    def fit(self, noisy: np.ndarray, clean: np.ndarray) -> "FittedDenoiser":
        """The denoiser with the parameter of the highest mean PSNR on examples.

        Args:
          noisy: in [0, 1], shape [N, height, width, channels].
          clean: of the same shape.
        """
        fitted = []
        for choice in self.choices:
            filtered = self._apply(noisy, choice)
            curve = _tone_curve(filtered, clean)
            score = psnr_of(np.interp(filtered, *curve), clean).mean()
            fitted.append((score, FittedDenoiser(self, choice, curve)))
        return max(fitted, key=lambda pair: pair[0])[1]

    def _apply(self, noisy: np.ndarray, choice: float) -> np.ndarray:
        return np.stack([self.function(image, choice) for image in noisy.astype(np.float64)])


@dataclasses.dataclass(frozen=True)
class FittedDenoiser:
    """A denoiser with its best parameter.

    Attributes:
      method: the denoiser.
      choice: its parameter.
      curve: intensities of the filtered image, and the mean clean intensities there. Noise that is
        clipped at black makes dark areas brighter. No filter takes that into account; the curve
        undoes it.
    """

    method: ClassicalDenoiser
    choice: float
    curve: tuple[np.ndarray, np.ndarray]

    def __call__(self, noisy: np.ndarray) -> np.ndarray:
        """Denoised images in [0, 1], of the shape of `noisy`, [N, height, width, channels]."""
        return np.clip(np.interp(self.method._apply(noisy, self.choice), *self.curve), 0, 1)


def _tone_curve(filtered: np.ndarray, clean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Filtered intensities in rising order, and the mean clean intensity at each."""
    edges = np.unique(np.quantile(filtered, np.linspace(0, 1, _CURVE_POINTS + 1)))
    bins = np.clip(np.searchsorted(edges, filtered.ravel(), side="right") - 1, 0, len(edges) - 1)
    counts = np.bincount(bins, minlength=len(edges))
    present = counts > 0
    xs, ys = (
        np.bincount(bins, weights=values.ravel(), minlength=len(edges))[present] / counts[present]
        for values in (filtered, clean)
    )
    return xs, ys


def _gaussian(image: np.ndarray, width: float) -> np.ndarray:
    from scipy import ndimage

    return ndimage.gaussian_filter(image, (width, width, 0))


def _median(image: np.ndarray, size: float) -> np.ndarray:
    from scipy import ndimage

    return ndimage.median_filter(image, (int(size), int(size), 1))


def _non_local_means(image: np.ndarray, cutoff: float) -> np.ndarray:
    from skimage.restoration import denoise_nl_means

    denoised = denoise_nl_means(
        image, patch_size=5, patch_distance=6, h=cutoff, fast_mode=True, channel_axis=-1
    )
    return np.reshape(denoised, image.shape)


def _bm3d(image: np.ndarray, scale: float) -> np.ndarray:
    import bm3d

    denoise = bm3d.bm3d if image.shape[-1] == 1 else bm3d.bm3d_rgb
    return np.reshape(denoise(np.squeeze(image), scale), image.shape)


CLASSICAL_DENOISERS = (
    ClassicalDenoiser(
        "Gaussian filter", "width in pixels", (0.3, 0.5, 0.7, 1, 1.4), ("scipy",), _gaussian
    ),
    ClassicalDenoiser("median filter", "size in pixels", (3, 5), ("scipy",), _median),
    ClassicalDenoiser(
        "non-local means",
        "cut-off",
        (0.05, 0.1, 0.15, 0.2, 0.3, 0.4),
        ("skimage",),
        _non_local_means,
    ),
    ClassicalDenoiser(
        "BM3D", "standard deviation", (0.05, 0.08, 0.12, 0.18, 0.25, 0.35), ("bm3d",), _bm3d
    ),
)
