import re

import numpy as np
import pytest

from components.base import tensorflow_setup
from components.base.errors import ConfigError
from components.base.manifest import load_artifact
from pipeline.prepare.stage import prepare
from tests.conftest import tiny_prepare_config, tiny_train_config
from trainer import stage
from trainer.config import RunOptions

# Not compiled by XLA, which saves seconds per run.
QUICK = {"epochs": 1, "network": "conv", "widths": (2, 4)}


def test_the_outcome_is_reported_at_the_end(examples_dir, tmp_path, capsys):
    stage.run("mlp", tiny_train_config(**QUICK), examples=examples_dir, output=tmp_path / "model")
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("train: final train loss ")
    assert "nats; kept epoch 1, held-out ELBO -" in last
    assert last.endswith(f"nats ({tmp_path / 'model'})")


def test_without_a_validation_split_the_last_model_is_kept(tmp_path, capsys):
    prepare(
        tiny_prepare_config(validation_fraction=0, synthetic_size=120), output=tmp_path / "examples"
    )
    config = tiny_train_config(**QUICK, patience=1)
    stage.run("mlp", config, examples=tmp_path / "examples", output=tmp_path / "model")
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(rf"train: final train loss [\d.]+ nats \({tmp_path}/model\)", last)
    counts = load_artifact(tmp_path / "model", stage="train").manifest.counts
    assert counts["kept"] == counts["final"]
    assert counts["kept"]["heldout"] is None


def test_an_output_is_up_to_date_for_its_config_and_rejected_for_another(
    examples_dir, model_dir, capsys
):
    stage.run("mlp", tiny_train_config(), examples=examples_dir, output=model_dir)
    assert capsys.readouterr().err == f"train: up to date ({model_dir})\n"
    with pytest.raises(ConfigError, match="latents is 2, not the requested 3"):
        stage.run("mlp", tiny_train_config(latents=3), examples=examples_dir, output=model_dir)


def test_the_output_of_another_stage_is_rejected_as_input(model_dir, tmp_path):
    with pytest.raises(ConfigError, match="an artifact of the prepare stage is needed"):
        stage.run("mlp", tiny_train_config(), examples=model_dir, output=tmp_path / "model")


def test_a_dataset_without_labels_is_refused_before_tensorflow_is_loaded(tmp_path, monkeypatch):
    images = np.zeros((60, 8, 8), np.uint8)
    images[:, 0, 0] = np.arange(60)
    np.savez(tmp_path / "data.npz", images=images)
    prepare(tiny_prepare_config(dataset=str(tmp_path / "data.npz")), output=tmp_path / "examples")
    monkeypatch.setattr(tensorflow_setup, "load", lambda: pytest.fail("TensorFlow was loaded"))
    config = tiny_train_config(condition="label")
    with pytest.raises(ConfigError, match="condition label needs a dataset of two or more classes"):
        stage.run("mlp", config, examples=tmp_path / "examples", output=tmp_path / "model")
    assert not (tmp_path / "model").exists()
    with pytest.raises(ConfigError, match="condition label needs a dataset of two or more classes"):
        stage.dry_run(config, RunOptions(), examples=tmp_path / "examples")
