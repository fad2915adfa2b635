import dataclasses

import pytest

from components.errors import ConfigError
from trainer.config import TrainConfig, load_config, preset_names


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_loads(preset):
    assert isinstance(load_config(preset), TrainConfig)


def test_mlp_is_the_model_the_project_starts_from():
    config = load_config("mlp")
    wanted = {"network": "mlp", "widths": (256,), "latents": 2, "optimizer": "rmsprop"}
    wanted |= {"batch_size": 100, "epochs": 50, "beta": 1.0}
    assert wanted.items() <= dataclasses.asdict(config).items()


def test_the_command_line_goes_over_the_file_and_the_file_over_the_preset(tmp_path):
    file = tmp_path / "fields.yaml"
    file.write_text("latents: 5\nwidths: [64, 32]\n")
    config = load_config("mlp", file=str(file), overrides={"latents": "7"})
    assert (config.latents, config.widths, config.optimizer) == (7, (64, 32), "rmsprop")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("latent: 5", "unknown field 'latent' in preset mlp or .*; nearest: latents"),
        ("latents: many", "latents in preset mlp or .* must be a whole number"),
        ("- 5", "must hold `field: value` lines"),
        ("a: b: c", "is no YAML"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, text, message):
    file = tmp_path / "fields.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config("mlp", file=str(file))


def test_a_missing_file_and_an_unknown_preset_are_named(tmp_path):
    with pytest.raises(ConfigError, match="No such file or directory"):
        load_config("mlp", file=str(tmp_path / "none.yaml"))
    with pytest.raises(ConfigError, match="unknown preset 'con'; nearest: conv"):
        load_config("con")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"latents": 0}, "latents must be at least 1. Received: 0"),
        ({"beta": -1}, "beta must be at least 0"),
        ({"learning_rate": 0}, "learning_rate must be over 0"),
        ({"network": "conv", "widths": "8"}, "widths of conv must be 2 or more"),
        ({"widths": "8,0"}, "widths of mlp must be 1 or more numbers over 0"),
    ],
)
def test_values_out_of_range_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        load_config("mlp", overrides=fields)
