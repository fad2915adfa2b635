import dataclasses

import pytest

from components.base.manifest import load_artifact
from components.model import vae
from pipeline.export import model_card
from tests.pipeline.export.exported_models import made


@pytest.fixture(scope="module")
def trained(model_dir):
    return load_artifact(model_dir, stage="train")


@pytest.fixture(scope="module")
def architecture(model_dir):
    return vae.load(model_dir / "model.keras").architecture


def test_a_card_has_data_preset_metrics_limits_and_digests(trained, architecture, example_set):
    card = model_card.render(trained, architecture, example_set)
    assert card.startswith("# A variational autoencoder, preset `mlp`, trained on `synthetic_garm")
    splits = ("534 in train", "66 in validation", "100 in test")
    kept = trained.manifest.counts["kept"]
    for part in (
        *splits,
        "`T-shirt/top`, `Trouser`",
        f"at the end of the epoch: distortion {kept['heldout']['distortion']:.4f}, loss",
        "## Limits\n\n- ",
        trained.output("model.keras").sha256,
        trained.fingerprint,
        example_set.artifact.fingerprint,
        "28x28x1",
    ):
        assert part in card


def test_a_card_without_the_dataset_says_so(trained, architecture, example_set):
    card = model_card.render(trained, architecture, None)
    assert "trained on a dataset that was not there at the export" in card
    assert example_set.artifact.fingerprint in card
    assert "Trouser" not in card


def test_names_of_strangers_cannot_change_the_card(trained, architecture, example_set):
    counts = dataclasses.replace(example_set.counts, class_names=["`x`\n## Limits\x1b[2J", "y"])
    card = model_card.render(trained, architecture, dataclasses.replace(example_set, counts=counts))
    assert card.count("\n## Limits") == 1
    assert "\x1b" not in card
    assert "`'x'\\n## Limits\\x1b[2J`, `y`" in card


def test_a_long_list_of_classes_is_cut(trained, architecture, example_set):
    counts = dataclasses.replace(example_set.counts, class_names=[f"c{n}" for n in range(1200)])
    card = model_card.render(trained, architecture, dataclasses.replace(example_set, counts=counts))
    assert "`c99` and 1,100 more" in card
    assert "`c100`" not in card


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("first", ["`score` with the likelihood bernoulli is not a log-probability"]),
        ("causal, flow", ["a pixel is 1 where it is above a threshold", "the causal head decodes"]),
        ("colors", ["images are uint8 of 5x7x3"]),
        ("three levels", ["[batch, latents] of all 3 levels, the top level first"]),
        ("conditional, at once", ["`labels` from 0 to 3, int64 [batch]", "bound on log p(x|y)"]),
    ],
)
def test_a_card_says_what_differs_between_models(trained, name, parts):
    card = model_card.render(trained, made(name).architecture, None)
    assert all(part in card for part in parts)
    for other in ("the causal head", "log p(x|y)", "above a threshold"):
        assert (other in card) == any(other in part for part in parts)


def test_the_metrics_of_a_run_without_validation_are_those_of_training(trained, architecture):
    counts = trained.manifest.counts
    manifest = dataclasses.replace(
        trained.manifest, counts=counts | {"kept": counts["kept"] | {"heldout": None}}
    )
    card = model_card.render(dataclasses.replace(trained, manifest=manifest), architecture, None)
    assert "training examples, measured during the epoch: distortion" in card
    assert "validation examples" not in card
