import pytest

from components.base import memory
from components.base.errors import ConfigError
from components.model import costs
from components.model.vae import VAE
from tests.conftest import tiny_train_config
from trainer import memory_check, stage
from trainer.config import RunOptions

SHAPE = (28, 28, 1)


def check(config, kinds=("CPU",)):
    memory_check.check(
        config, image_shape=SHAPE, precision="float32", kinds=kinds, steps_per_call=7
    )


def needed(config) -> costs.Memory:
    return memory_check.replica_memory(
        memory_check._planned_costs(config, SHAPE),
        config,
        replicas=1,
        precision="float32",
        steps_per_call=7,
        image_shape=SHAPE,
    )


@pytest.mark.parametrize("network", ["mlp", "conv", "keras_conv"])
def test_the_planned_costs_are_those_of_the_model(network):
    config = tiny_train_config(network=network, widths=(8, 12))
    vae = VAE(image_shape=SHAPE, network=network, latents=config.latents, widths=(8, 12))
    expected = costs.count(vae.encoder, vae.decoder)
    assert memory_check._planned_costs(config, SHAPE) == expected


def test_the_need_consists_of_weights_activations_and_images():
    config = tiny_train_config(batch_size=50, accumulate=3, optimizer="adam", ema_decay=0.9)
    need = needed(config)
    assert memory_check.micro_batch_size(config, 1) == 17
    assert need.data == 7 * 3 * 17 * 784
    assert need.slots == 2 * need.parameters == 2 * need.average


def test_a_run_that_fits_is_not_mentioned(monkeypatch, capsys):
    config = tiny_train_config()
    monkeypatch.setattr(memory, "free_memory", lambda: needed(config).total)
    check(config)
    assert capsys.readouterr().err == ""


def test_a_run_that_may_not_fit_causes_a_warning(monkeypatch, capsys):
    config = tiny_train_config(steps_per_call=7)
    monkeypatch.setattr(memory, "free_memory", lambda: needed(config).total - 1)
    check(config)
    message = capsys.readouterr().err
    assert message.startswith("warning: training needs about ")
    assert "--batch_size" in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"widths": (2**31 - 1,)},
        {"widths": (2**31 - 1, 2**31 - 1)},
        {"widths": (2**31 - 1, 2**31 - 1), "network": "conv"},
        {"latents": 2**31 - 1},
        {"batch_size": 2**31 - 1},
        {"accumulate": 2**31 - 1},
    ],
)
def test_a_run_that_cannot_fit_is_refused(fields):
    with pytest.raises(ConfigError, match="--widths") as caught:
        check(tiny_train_config(**fields))
    assert "\n" not in str(caught.value)


def test_all_replicas_of_this_host_count(monkeypatch):
    config = tiny_train_config(batch_size=50)
    monkeypatch.setattr(memory, "free_memory", lambda: needed(config).parameters * 5)
    with pytest.raises(ConfigError, match="at least"):
        check(config, kinds=("CPU", "CPU"))


def test_the_memory_of_gpus_is_not_compared(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 1)
    check(tiny_train_config(), kinds=("GPU",))


def test_a_refused_run_leaves_nothing_behind(examples_dir, tmp_path):
    config = tiny_train_config(widths=(2**31 - 1,))
    with pytest.raises(ConfigError, match="--widths"):
        stage.run("mlp", config, examples=examples_dir, output=tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="--widths"):
        stage.dry_run(config, RunOptions(), examples=examples_dir)
