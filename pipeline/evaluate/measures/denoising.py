"""Compares a model that was trained on corrupted images with classical denoisers.

Writes `denoising.json`, a row for each corruption and method.
"""

import dataclasses
import json
from collections.abc import Sequence

import numpy as np

from components.base import console
from components.data.prepared_dataset import PreparedDataset
from components.metrics.classical_denoisers import CLASSICAL_DENOISERS
from components.metrics.mean import Mean
from components.metrics.psnr import psnr_of
from components.metrics.ssim import ssim
from components.metrics.subsets import evenly_spaced
from components.model.corruption import Corruption, Noise, corrupt_for_evaluation
from components.model.pixels import to_unit
from pipeline.evaluate.measures.measure import Measured, Subject
from pipeline.evaluate.report.subject import ComparedImages

TABLE, FIGURE = "denoising.json", "denoising"
# BM3D takes a fifth of a second for an image of 28x28 pixels, six times over to choose its
# parameter.
_EXAMPLES, _TUNING_EXAMPLES = 200, 16
_SAMPLES = 64
_COLUMNS = 12
# The standard deviations that the literature compares at.
_SCALES = (0.1, 0.2, 0.4)


@dataclasses.dataclass(frozen=True)
class DenoisingResult:
    """A method at a corruption.

    Attributes:
      corruption: the corruption.
      method: name of the method, in text.
      parameter: its parameter, the best one on the tuning examples; None without one.
      psnr: in dB.
      ssim: from -1 to 1.
      denoised: the images, float32 in [0, 1], shape [N, height, width, channels].
    """

    corruption: Corruption
    method: str
    parameter: float | None
    psnr: Mean
    ssim: Mean
    denoised: np.ndarray


class DenoisingMeasure:
    """How close denoised images are to the clean ones."""

    names: tuple[str, ...] = ("denoised_psnr", "denoised_ssim")

    def measure(self, subject: Subject) -> Measured:
        if subject.corruption is None:
            return self._nothing("the model was not trained on corrupted images")
        if subject.model.architecture.classes:
            return self._nothing("noisy images do not have the labels that are decoded")
        count = len(subject.examples)
        rows = evenly_spaced(count, _EXAMPLES)
        clean = subject.examples.images[rows]
        console.say(f"evaluate: denoising {console.counted(len(rows), 'example')}")
        own = _own_row(subject, clean, subject.corruption)
        missing = [method.name for method in CLASSICAL_DENOISERS if not method.is_installed]
        if missing:
            console.warn(
                f"{TABLE} lacks {', '.join(missing)}, which need packages of the extra `denoise`: "
                "pip install bm3d scikit-image"
            )
        table = [
            row
            for corruption in compared(subject.corruption)
            for row in _compare(subject, clean, corruption)
        ]
        content = {
            "examples": len(rows),
            "tuning_examples": len(_tuning_images(subject.dataset)),
            "samples": _SAMPLES,
            "left_out": missing,
            "rows": [_as_json(row) for row in [own, *table]],
        }
        (subject.directory / TABLE).write_text(json.dumps(content, indent=1) + "\n")
        return Measured(
            {"denoised_psnr": own.psnr, "denoised_ssim": own.ssim},
            protocol={
                "denoised_corruption": str(subject.corruption),
                "denoised_examples": len(rows),
            },
            comparisons={FIGURE: _compared_images(subject, clean, table)},
        )

    def _nothing(self, reason: str) -> Measured:
        return Measured(not_measured=dict.fromkeys(self.names, reason))


def compared(corruption: Corruption) -> list[Corruption]:
    """The corruptions to compare methods at, the strongest last: each of one kind and strength.

    Args:
      corruption: of the training.
    """
    found = []
    for noise in corruption.noises:
        strengths: Sequence[float] = sorted({noise.low, noise.high})
        if noise.kind == "gaussian":
            within = [scale for scale in _SCALES if noise.low <= scale <= noise.high]
            strengths = within or strengths
        found += [Corruption((Noise(noise.kind, each, each),)) for each in strengths]
    return found


def _compare(subject: Subject, clean: np.ndarray, corruption: Corruption) -> list[DenoisingResult]:
    """The rows of a corruption: the noisy images, the model, and the methods by their PSNR."""
    noisy = to_unit(corrupt_for_evaluation(clean, corruption))
    tuning = _tuning_images(subject.dataset)
    noisy_tuning = to_unit(corrupt_for_evaluation(tuning, corruption))
    rows = []
    for method in CLASSICAL_DENOISERS:
        if method.is_installed:
            fitted = method.fit(noisy_tuning, to_unit(tuning))
            rows.append(_row(corruption, method.name, fitted.choice, fitted(noisy), clean))
    return [
        _row(corruption, "noisy", None, noisy, clean),
        _own_row(subject, clean, corruption),
        *sorted(rows, key=lambda row: -row.psnr.value),
    ]


def _own_row(subject: Subject, clean: np.ndarray, corruption: Corruption) -> DenoisingResult:
    from components.model.denoise import denoise

    noisy = corrupt_for_evaluation(clean, corruption)
    keys = np.arange(len(clean), dtype=np.uint64)
    denoised = denoise(subject.model, noisy, keys, samples=_SAMPLES).mean
    return _row(corruption, "this model", None, denoised, clean)


def _row(
    corruption: Corruption,
    method: str,
    parameter: float | None,
    denoised: np.ndarray,
    clean: np.ndarray,
) -> DenoisingResult:
    originals = to_unit(clean)
    psnr, similarity = psnr_of(denoised, originals), ssim(denoised, originals)
    return DenoisingResult(
        corruption, method, parameter, Mean.of(psnr), Mean.of(similarity), denoised
    )


def _tuning_images(dataset: PreparedDataset) -> np.ndarray:
    """The images that the parameters of the methods are chosen on.

    None of them is scored, unless the dataset has a single split.
    """
    split = dataset.splits[-2] if len(dataset.splits) > 1 else dataset.splits[0]
    return dataset.head(split, _TUNING_EXAMPLES).images


def _as_json(row: DenoisingResult) -> dict[str, object]:
    values = {
        name: {"mean": mean.value, "half_width_95": mean.half_width}
        for name, mean in (("psnr", row.psnr), ("ssim", row.ssim))
    }
    return {
        "corruption": str(row.corruption),
        "method": row.method,
        "parameter": row.parameter,
        **values,
    }


def _compared_images(
    subject: Subject, clean: np.ndarray, table: Sequence[DenoisingResult]
) -> ComparedImages:
    """Clean, noisy and denoised images at the strongest corruption."""
    corruption = table[-1].corruption
    # The noisy images, the model, and the best of the other methods, if there are any.
    rows = [row for row in table if row.corruption == corruption][:3]
    columns = min(_COLUMNS, len(clean))
    return ComparedImages(
        title="Denoised images",
        subtitle=f"{subject.dataset.name} · {subject.split} images with the noise {corruption}",
        caption=f"Examples of the {subject.split} split, the same with the noise {corruption}, and "
        f"denoised. The PSNR is averaged over {console.counted(len(clean), 'example')}. Of the "
        "methods that are not learned, the one with the highest PSNR is shown. Good denoised "
        f"images keep edges and shapes, and add none. {TABLE} has the PSNR of all methods.",
        names=["clean", *(f"{row.method} {row.psnr.value:.1f} dB" for row in rows)],
        images=np.stack([to_unit(clean)[:columns], *(row.denoised[:columns] for row in rows)]),
    )
