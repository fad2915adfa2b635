import pytest

from components.errors import ConfigError
from tests.conftest import tiny_train_config
from trainer import stage


def test_the_outcome_is_said_at_the_end(examples_dir, tmp_path, capsys):
    stage.run("mlp", tiny_train_config(epochs=1), examples=examples_dir, output=tmp_path / "model")
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("train: final train loss ")
    assert "held-out ELBO -" in last
    assert last.endswith(f"nats ({tmp_path / 'model'})")


def test_up_to_date_is_said_and_another_config_refused(examples_dir, model_dir, capsys):
    stage.run("mlp", tiny_train_config(), examples=examples_dir, output=model_dir)
    assert capsys.readouterr().err == f"train: up to date ({model_dir})\n"
    with pytest.raises(ConfigError, match="latents is 2 there, 3 asked"):
        stage.run("mlp", tiny_train_config(latents=3), examples=examples_dir, output=model_dir)


def test_another_stages_directory_is_no_input(model_dir, tmp_path):
    with pytest.raises(ConfigError, match="made by the train stage; one of prepare is needed"):
        stage.run("mlp", tiny_train_config(), examples=model_dir, output=tmp_path / "model")
