import dataclasses

import pytest

from components.base.arithmetic import ceil_div
from components.base.errors import ConfigError
from trainer.choices import OPTIMIZERS, OPTIMIZERS_WITH_DECAY
from trainer.config import (
    RunOptions,
    TrainConfig,
    VerifyOptions,
    load_config,
    preset_names,
)


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_loads(preset):
    assert isinstance(load_config(preset), TrainConfig)


def test_the_mlp_preset_has_the_settings_of_the_published_results():
    config = load_config("mlp")
    expected = {"network": "mlp", "widths": (256,), "latents": 2, "optimizer": "rmsprop"}
    expected |= {"batch_size": 100, "epochs": 50, "beta": 1.0}
    assert expected.items() <= dataclasses.asdict(config).items()


@pytest.mark.parametrize(
    ("preset", "total_steps"), [("mlp", 27_000), ("conv", 6_330), ("keras_conv", 12_660)]
)
def test_full_runs_on_fashion_mnist_have_500_warm_up_steps(preset, total_steps):
    config = load_config(preset)
    assert config.epochs * ceil_div(54_000, config.batch_size) == total_steps
    assert config.warmup_of(total_steps) == 500


@pytest.mark.parametrize(
    ("total_steps", "expected"), [(1, 0), (9, 1), (270, 27), (4_990, 499), (5_000, 500)]
)
def test_the_warm_up_of_a_short_run_is_a_tenth_of_it(total_steps, expected):
    assert load_config("mlp").warmup_of(total_steps) == expected


def test_the_command_line_overrides_the_file_and_the_file_the_preset(tmp_path):
    file = tmp_path / "fields.yaml"
    file.write_text("latents: 5\nwidths: [64, 32]\n")
    config = load_config("mlp", file=str(file), overrides={"latents": "7"})
    assert (config.latents, config.widths, config.optimizer) == (7, (64, 32), "rmsprop")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("latent: 5", "unknown field 'latent' in preset mlp or .*; nearest: latents"),
        ("latents: many", "latents in preset mlp or .* must be a whole number"),
        ("- 5", "must consist of `field: value` lines"),
        ("a: b: c", "is not valid YAML"),
    ],
)
def test_an_invalid_file_is_rejected(tmp_path, text, message):
    file = tmp_path / "fields.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config("mlp", file=str(file))


def test_a_missing_file_and_an_unknown_preset_are_rejected(tmp_path):
    with pytest.raises(ConfigError, match="No such file or directory"):
        load_config("mlp", file=str(tmp_path / "none.yaml"))
    with pytest.raises(ConfigError, match="unknown preset 'con'; nearest: conv"):
        load_config("con")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"latents": 0}, "latents must be at least 1. Received: 0"),
        ({"beta": -1}, "beta must be at least 0"),
        ({"epochs": 10**18}, "epochs must be at most 2,147,483,647. Received: 1000"),
        ({"batch_size": 2**31}, "batch_size must be at most 2,147,483,647"),
        ({"learning_rate": 1e300}, r"learning_rate must be at most 1e\+30. Received: 1e\+300"),
        ({"beta": 1e300}, r"beta must be at most 1e\+30"),
        ({"replicas": 10**6}, "replicas must be at most 1,024"),
        ({"widths": f"8,{2**31}"}, "widths of mlp must be .* each from 1 to 2"),
        ({"learning_rate": 0}, "learning_rate must be greater than 0"),
        ({"network": "conv", "widths": "8"}, "widths of conv must be 2 or more"),
        ({"widths": "8,0"}, "widths of mlp must be 1 or more numbers, each from 1"),
        ({"accumulate": 0}, "accumulate must be at least 1"),
        ({"beta_cycles": 0}, "beta_cycles must be at least 1"),
        ({"free_bits": -0.1}, "free_bits must be at least 0. Received: -0.1"),
        (
            {"free_bits": 0.1, "objective": "path_derivative"},
            "free_bits needs objective elbo or importance_weighted. Received: path_derivative, "
            "whose gradient a floor of the rate would bias",
        ),
        (
            {"objective_samples": 2},
            "objective elbo has one draw per example; choose importance_weighted, or set",
        ),
        ({"levels": 5, "network": "residual", "widths": "8,8"}, "levels must be at most 4"),
        ({"levels": 2}, "levels=2 needs network residual. Received: mlp"),
        (
            {"levels": 2, "network": "residual", "widths": "8,8", "prior": "real_nvp"},
            "levels=2 needs prior standard_normal. Received: real_nvp",
        ),
        ({"corruption": "blur:1"}, "unknown kind 'blur' in corruption"),
        (
            {"noise_model": "gaussian:0.2"},
            "noise_model gaussian:0.2 needs likelihood gaussian. Received: bernoulli",
        ),
        (
            {
                "noise_model": "gaussian:0.2",
                "likelihood": "gaussian",
                "linear_path": "principal_components",
            },
            "noise_model gaussian:0.2 needs linear_path none",
        ),
        (
            {"likelihood": "gaussian", "head": "causal"},
            "likelihood gaussian needs head factorized, .* Received: causal",
        ),
        (
            {"linear_path": "principal_components"},
            "linear_path principal_components needs likelihood gaussian and levels=1. "
            "Received: bernoulli, levels=1",
        ),
        (
            {
                "linear_path": "principal_components",
                "likelihood": "gaussian",
                "levels": 2,
                "network": "residual",
                "widths": "8,8",
            },
            "needs likelihood gaussian and levels=1. Received: gaussian, levels=2",
        ),
        (
            {"levels": 2, "network": "residual", "widths": "8,8", "objective": "path_derivative"},
            "levels=2 needs objective elbo or importance_weighted. Received: path_derivative",
        ),
        ({"beta_warmup_share": 1.5}, "beta_warmup_share must be at most 1. Received: 1.5"),
        ({"patience": -1}, "patience must be at least 0"),
        ({"ema_decay": 1.0}, "ema_decay must be less than 1. Received: 1.0"),
        ({"ema_decay": -0.1}, "ema_decay must be at least 0"),
        ({"seed": 2**32}, "seed must be less than 2"),
        ({"warmup_share": 1.01}, "warmup_share must be at most 1. Received: 1.01"),
        ({"warmup_share": -0.1}, "warmup_share must be at least 0"),
        ({"weight_decay": -1, "optimizer": "lion"}, "weight_decay must be at least 0"),
        (
            {"weight_decay": 0.1, "optimizer": "adam"},
            "adam has no weight decay; choose one of adamw, lamb, lion",
        ),
        ({"weight_decay": 0.1, "optimizer": "rmsprop"}, "rmsprop has no weight decay"),
        ({"keep": "first"}, "keep in the command line must be one of best, last"),
        ({"beta_schedule": "liner"}, "must be one of .* nearest: linear"),
    ],
)
def test_values_out_of_range_are_rejected(fields, message):
    with pytest.raises(ConfigError, match=message):
        load_config("mlp", overrides=fields)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RunOptions(cache_bytes=-1), "cache_bytes must be at least 0"),
        (lambda: RunOptions(checkpoint_seconds=-1), "checkpoint_seconds must be at least 0"),
        (lambda: RunOptions(profile=-1), "profile must be at least 0"),
        (lambda: VerifyOptions(replicas=(2,)), "replicas must be two or more numbers"),
        (lambda: VerifyOptions(replicas=(1, 0)), "greater than 0. Received: 1,0"),
        (lambda: VerifyOptions(steps=0), "steps must be at least 1"),
        (lambda: VerifyOptions(tolerance=-1e-9), "tolerance must be at least 0"),
    ],
)
def test_options_out_of_range_are_rejected(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize("name", OPTIMIZERS_WITH_DECAY)
def test_some_optimizers_accept_a_weight_decay(name):
    assert (
        load_config("mlp", overrides={"optimizer": name, "weight_decay": 0.1}).weight_decay == 0.1
    )


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_accepts_no_weight_decay(name):
    assert load_config("mlp", overrides={"optimizer": name}).optimizer == name


def test_a_conditional_model_has_the_classes_of_its_dataset():
    config = load_config("mlp", overrides={"condition": "label"})
    assert config.classes(["a", "b", "c"]) == 3
    assert config.architecture((8, 8, 1), classes=3).classes == 3
    assert load_config("mlp").classes(["a", "b", "c"]) == 0


@pytest.mark.parametrize("names", [["unlabelled"], []])
def test_a_conditional_model_of_images_without_labels_is_rejected(names):
    config = load_config("mlp", overrides={"condition": "label"})
    found = f"has {len(names)}: {names[0] if names else 'none'}; set condition to none"
    with pytest.raises(ConfigError, match=f"condition label needs .* two or more .* {found}"):
        config.classes(names)
    assert load_config("mlp").classes(names) == 0


def test_a_conditional_hierarchy_is_rejected():
    fields = {"network": "residual", "widths": "4,8", "levels": 2, "condition": "label"}
    with pytest.raises(ConfigError, match="levels=2 needs condition none"):
        load_config("mlp", overrides=fields)


def test_another_network_takes_away_the_widths_of_the_preset(tmp_path):
    shape = (64, 64, 3)
    config = load_config("conv", overrides={"network": "residual"})
    assert config.widths == ()
    assert config.architecture(shape).widths == (32, 64, 128, 256)
    # Its own widths, or the same network, keep what is set.
    config = load_config("conv", overrides={"network": "residual", "widths": "8,9"})
    assert config.architecture(shape).widths == (8, 9)
    assert load_config("conv", overrides={"network": "conv"}).widths == (32, 64, 256)
    file = tmp_path / "config.yaml"
    file.write_text("network: residual\nwidths: [8, 9, 10]\n")
    assert load_config("conv", file=str(file)).widths == (8, 9, 10)
    assert load_config("conv", file=str(file), overrides={"network": "conv"}).widths == ()
