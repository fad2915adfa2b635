import collections

import pytest

from components.base import memory
from components.base.errors import ConfigError
from components.model import costs
from components.model.objective import ImportanceWeighted
from tests.conftest import tiny_train_config
from trainer import memory_check, stage
from trainer.config import RunOptions

SHAPE = (28, 28, 1)


def check(config, kinds=("CPU",)):
    memory_check.check(
        config, image_shape=SHAPE, precision="float32", kinds=kinds, steps_per_call=7
    )


def planned(config) -> costs.Costs:
    return memory_check.planned_costs(config, SHAPE)


def needed(config) -> costs.MemoryEstimate:
    return memory_check.replica_memory(
        planned(config),
        config,
        replicas=1,
        precision="float32",
        steps_per_call=7,
        image_shape=SHAPE,
    )


def test_the_planned_costs_are_those_of_the_model():
    config = tiny_train_config(
        network="conv", widths=(8, 12), prior="real_nvp",
        objective="importance_weighted", objective_samples=3,
    )  # fmt: skip
    assert planned(config) == costs.count(config.architecture(SHAPE), ImportanceWeighted(3))


def test_the_need_consists_of_weights_activations_and_images():
    config = tiny_train_config(batch_size=50, accumulate=3, optimizer="adam", ema_decay=0.9)
    need = needed(config)
    assert memory_check.micro_batch_size(config, 1) == 17
    assert need.data == 7 * 3 * 17 * 784
    assert need.slots == 2 * need.parameters == 2 * need.average


def test_muons_matrices_need_one_slot_and_its_vectors_two():
    need = needed(tiny_train_config(network="mlp", widths=(8,), latents=3, optimizer="muon"))
    matrices = 784 * 8 + 8 * 6 + 3 * 8 + 8 * 784
    vectors = 8 + 6 + 8 + 784
    assert need.parameters == 4 * (matrices + vectors)
    assert need.slots == 4 * (matrices + 2 * vectors)


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


NEED = costs.MemoryEstimate(
    parameters=10, gradients=10, slots=20, average=0, activations=400, data=60
)


@pytest.mark.parametrize(
    ("sharing", "available", "expected"),
    [
        (1, 500, None),
        (1, 499, ("about", 500)),
        (1, 200, ("about", 500)),
        (1, 199, ("at least", 200)),
        (3, 1500, None),
        (3, 1499, ("about", 1500)),
        (3, 599, ("at least", 600)),
    ],
)
def test_replicas_that_share_memory_need_it_together(sharing, available, expected):
    assert memory_check.shortage(NEED, sharing=sharing, available=available) == expected


def with_gpus(monkeypatch, *limits: int) -> None:
    """Makes TensorFlow report a CPU and GPUs with some memory."""
    device = collections.namedtuple("device", ("device_type", "memory_limit"))
    devices = [device("CPU", 1), *(device("GPU", limit) for limit in limits)]
    monkeypatch.setattr(memory_check.device_lib, "list_local_devices", lambda: devices)


def test_each_gpu_has_a_memory_of_its_own(monkeypatch, capsys):
    config = tiny_train_config()
    monkeypatch.setattr(memory, "free_memory", lambda: 1)
    need = memory_check.replica_memory(
        planned(config),
        config,
        replicas=2,
        precision="float32",
        steps_per_call=7,
        image_shape=SHAPE,
    ).total
    with_gpus(monkeypatch, need, need, 1)  # The third one is not used.
    check(config, kinds=("GPU", "GPU"))
    assert capsys.readouterr().err == ""
    with_gpus(monkeypatch, need, need - 1)
    check(config, kinds=("GPU", "GPU"))
    warning = capsys.readouterr().err
    assert warning.startswith("warning: training needs about ")
    assert " of memory on each GPU for " in warning
    with_gpus(monkeypatch, need, 1000)
    with pytest.raises(ConfigError, match=r"at least .* on each GPU .* but 1\.00 kB is free"):
        check(config, kinds=("GPU", "GPU"))


@pytest.mark.parametrize("limits", [(), (0,)])
def test_a_gpu_whose_memory_is_not_known_is_not_compared(monkeypatch, capsys, limits):
    with_gpus(monkeypatch, *limits)
    check(tiny_train_config(), kinds=("GPU",))
    assert capsys.readouterr().err == ""


def test_this_machine_names_the_memory_of_its_devices():
    devices = memory_check.device_lib.list_local_devices()
    assert {device.device_type for device in devices} >= {"CPU"}
    assert all(device.memory_limit > 0 for device in devices)


def test_a_refused_run_leaves_nothing_behind(examples_dir, tmp_path):
    config = tiny_train_config(widths=(2**31 - 1,))
    with pytest.raises(ConfigError, match="--widths"):
        stage.run("mlp", config, examples=examples_dir, output=tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="--widths"):
        stage.dry_run(config, RunOptions(), examples=examples_dir)
