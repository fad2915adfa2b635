import dataclasses
import json

import numpy as np
import pytest

from components.metrics import classical_denoisers
from components.metrics.mean import Mean
from components.metrics.psnr import psnr_of
from components.metrics.ssim import ssim
from components.model.corruption import corrupt_for_evaluation, parse_corruption
from components.model.denoise import denoise
from components.model.pixels import to_unit
from components.model.vae import VAE
from pipeline.evaluate.measures import denoising
from pipeline.evaluate.measures.denoising import DenoisingMeasure, compared


@pytest.fixture
def quick(monkeypatch):
    """Few examples, and of the methods only those of a filter."""
    monkeypatch.setattr(denoising, "_EXAMPLES", 5)
    monkeypatch.setattr(denoising, "_TUNING_EXAMPLES", 4)
    monkeypatch.setattr(denoising, "_SAMPLES", 3)


@pytest.fixture
def filters(monkeypatch):
    pytest.importorskip("scipy")
    monkeypatch.setattr(
        denoising, "CLASSICAL_DENOISERS", classical_denoisers.CLASSICAL_DENOISERS[:2]
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gaussian:0-0.5", ["gaussian:0.1", "gaussian:0.2", "gaussian:0.4"]),
        ("gaussian:0.2", ["gaussian:0.2"]),
        ("gaussian:0.6-0.9", ["gaussian:0.6", "gaussian:0.9"]),
        ("mask:0.3,speckle:0-0.1", ["mask:0.3", "speckle:0", "speckle:0.1"]),
    ],
)
def test_methods_are_compared_at_single_strengths(text, expected):
    assert [str(each) for each in compared(parse_corruption(text))] == expected


def test_a_model_of_clean_images_is_not_measured(subject):
    measured = DenoisingMeasure().measure(subject(limit_examples=10))
    assert measured.means == {}
    assert measured.not_measured == dict.fromkeys(
        DenoisingMeasure.names, "the model was not trained on corrupted images"
    )


def test_a_conditional_model_is_not_measured_and_the_reason_is_not_its_training(subject):
    scored = subject(limit_examples=10)
    model = VAE(image_shape=(28, 28, 1), latents=2, network="mlp", widths=(4,), classes=10)
    conditional = dataclasses.replace(
        scored, model=model, corruption=parse_corruption("gaussian:0.2")
    )
    assert DenoisingMeasure().measure(conditional).not_measured == dict.fromkeys(
        DenoisingMeasure.names, "noisy images do not have the labels that are decoded"
    )


@pytest.mark.usefixtures("quick", "filters")
def test_the_model_and_the_methods_are_measured_on_the_same_images(subject, capsys):
    corruption = parse_corruption("gaussian:0.1-0.2")
    scored = dataclasses.replace(subject(limit_examples=20), corruption=corruption)
    measured = DenoisingMeasure().measure(scored)
    clean = scored.examples.images[[0, 4, 8, 12, 16]]
    keys = np.arange(5, dtype=np.uint64)

    def own(noise: str) -> np.ndarray:
        noisy = corrupt_for_evaluation(clean, parse_corruption(noise))
        return denoise(scored.model, noisy, keys, samples=3).mean

    def numbers(values: np.ndarray) -> dict[str, float]:
        mean = Mean.of(values)
        return {
            "mean": pytest.approx(mean.value, rel=1e-5),
            "half_width_95": pytest.approx(mean.half_width, rel=1e-4),
        }

    trained = own("gaussian:0.1-0.2")
    assert measured.means["denoised_psnr"].value == pytest.approx(
        psnr_of(trained, to_unit(clean)).mean(), rel=1e-5
    )
    assert measured.protocol == {
        "denoised_corruption": "gaussian:0.1-0.2",
        "denoised_examples": 5,
    }
    table = json.loads((scored.directory / denoising.TABLE).read_text())
    assert (table["examples"], table["tuning_examples"], table["samples"]) == (5, 4, 3)
    assert table["left_out"] == []
    rows = {(row["corruption"], row["method"]): row for row in table["rows"]}
    assert len(rows) == 1 + 2 * 4
    noisy = to_unit(corrupt_for_evaluation(clean, parse_corruption("gaussian:0.2")))
    for method, images in (("noisy", noisy), ("this model", own("gaussian:0.2"))):
        row = rows["gaussian:0.2", method]
        assert row["parameter"] is None
        assert row["psnr"] == numbers(psnr_of(images, to_unit(clean)))
        assert row["ssim"] == numbers(ssim(images, to_unit(clean)))
    assert rows["gaussian:0.1", "median filter"]["parameter"] in (3, 5)
    compared = measured.comparisons[denoising.FIGURE]
    best = max(
        (row for (noise, _), row in rows.items() if noise == "gaussian:0.2" and row["parameter"]),
        key=lambda row: row["psnr"]["mean"],
    )
    decibels = {
        method: f"{method} {rows['gaussian:0.2', method]['psnr']['mean']:.1f} dB"
        for method in ("noisy", "this model", best["method"])
    }
    assert compared.names == ["clean", *decibels.values()]
    assert compared.images.shape == (4, 5, 28, 28, 1)
    np.testing.assert_array_equal(compared.images[0], to_unit(clean))
    np.testing.assert_array_equal(compared.images[1], noisy)
    assert "with the noise gaussian:0.2" in compared.subtitle
    assert "denoising 5 examples" in capsys.readouterr().err


@pytest.mark.usefixtures("quick")
def test_methods_that_are_not_installed_are_left_out(subject, monkeypatch, capsys):
    missing = dataclasses.replace(
        classical_denoisers.CLASSICAL_DENOISERS[3], modules=("no_such_module",)
    )
    monkeypatch.setattr(denoising, "CLASSICAL_DENOISERS", (missing,))
    corruption = parse_corruption("mask:0.3")
    scored = dataclasses.replace(subject(limit_examples=5), corruption=corruption)
    DenoisingMeasure().measure(scored)
    table = json.loads((scored.directory / denoising.TABLE).read_text())
    assert table["left_out"] == ["BM3D"]
    assert {row["method"] for row in table["rows"]} == {"noisy", "this model"}
    assert "denoising.json lacks BM3D, which need packages" in capsys.readouterr().err
