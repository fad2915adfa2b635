import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from etils import epath

from components.base import processor
from components.base.errors import ConfigError
from components.base.manifest import load_artifact
from components.model.objective import Elbo
from tests.conftest import tiny_train_config
from tests.trainer.test_train import Killed, assert_same_run, killed_after
from trainer import build, dry_run, precision_choice, precision_record, stage
from trainer.config import RunOptions
from trainer.devices.hosts import Host
from trainer.precision_record import PRECISION_FILE, PrecisionRecord

CONV = {"network": "conv", "widths": (2, 4), "steps_per_call": 4, "precision": "auto"}
FAST = {"float32": 3.0, "bfloat16": 2.0}
SLOW = {"float32": 3.0, "bfloat16": 2.9}


class Measurement:
    """Stands in for the measurement: gives the times that a test sets, and counts its calls."""

    def __init__(self):
        self.milliseconds = FAST
        self.calls = 0

    def __call__(self, architecture, objective, *, batch_size):
        self.calls += 1
        return self.milliseconds


@pytest.fixture
def measurement(monkeypatch, tmp_path) -> Measurement:
    """A measurement on a CPU that multiplies in bfloat16, with an empty cache."""
    given = Measurement()
    monkeypatch.setattr(precision_choice, "measure", given)
    monkeypatch.setattr(processor, "has_bfloat16", lambda: True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return given


def settled(example_set, draft: Path | None = None, **fields) -> build.Devices:
    """The devices of a run with the given settings."""
    config = tiny_train_config(**CONV | fields)
    devices = build.devices_for(config, example_set)
    directory = None if draft is None else epath.Path(draft)
    return precision_choice.with_precision(devices, config, example_set, directory)


def train(examples_dir, output, **fields) -> None:
    options = {name: fields.pop(name) for name in ("extend", "overwrite") if name in fields}
    config = tiny_train_config(**CONV | fields)
    stage.run("mlp", config, examples=examples_dir, output=output, **options)


def counts(model: Path) -> tuple[str, dict[str, float] | None]:
    """The precision in a manifest, and the measurement that it rests on."""
    values = load_artifact(model, stage="train").manifest.counts
    return values["precision"], values["measured"]


# --- the choice -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("milliseconds", "expected"),
    [(FAST, "bfloat16"), (SLOW, "float32"), ({"float32": 1.0, "bfloat16": 9.0}, "float32")],
)
def test_the_faster_precision_is_chosen(measurement, example_set, milliseconds, expected):
    measurement.milliseconds = milliseconds
    devices = settled(example_set)
    assert devices.precision == expected
    assert devices.measured == milliseconds


def test_a_convolutional_head_is_measured_too(measurement, example_set):
    devices = settled(example_set, network="mlp", widths=(4,), feature_channels=4, head="causal")
    assert devices.precision == "bfloat16"


def test_models_that_xla_compiles_are_not_measured(measurement, example_set):
    devices = settled(example_set, network="mlp", widths=(4,))
    assert (devices.precision, devices.measured, measurement.calls) == ("float32", None, 0)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_given_precision_is_not_measured(measurement, example_set, precision, tmp_path):
    devices = settled(example_set, tmp_path, precision=precision)
    assert (devices.precision, devices.measured, measurement.calls) == (precision, None, 0)
    assert not (tmp_path / PRECISION_FILE).exists()


def test_cpus_without_bfloat16_are_not_measured(measurement, example_set, monkeypatch):
    monkeypatch.setattr(processor, "has_bfloat16", lambda: False)
    devices = settled(example_set)
    assert (devices.precision, devices.measured, measurement.calls) == ("float32", None, 0)


def test_a_gpu_decides_by_itself(measurement, example_set, tmp_path):
    config = tiny_train_config(**CONV)
    devices = build.devices_for(config, example_set)
    devices = dataclasses.replace(devices, kinds=["GPU"], precision="float16")
    draft = epath.Path(tmp_path)
    assert precision_choice.with_precision(devices, config, example_set, draft) == devices
    assert measurement.calls == 0
    assert precision_record.read(draft) == PrecisionRecord("float16")


def test_every_host_computes_as_the_chief_does(measurement, example_set, monkeypatch):
    received = []

    class Chief:
        def __init__(self, strategy):
            pass

        def broadcast_from_chief(self, arrays):
            received.append(arrays)
            return {"precision": np.array([2], np.int32)}

    monkeypatch.setattr(precision_choice, "host", lambda: Host(1, 2))
    monkeypatch.setattr(precision_choice, "HostCollectives", Chief)
    devices = settled(example_set)
    assert (devices.precision, measurement.calls, len(received)) == ("bfloat16", 0, 1)


def test_both_precisions_are_measured():
    config = tiny_train_config(**CONV)
    milliseconds = precision_choice.measure(config.architecture((8, 8, 1)), Elbo(), batch_size=3)
    assert list(milliseconds) == ["float32", "bfloat16"]
    assert all(number > 0 for number in milliseconds.values())


def test_a_conditional_model_is_measured():
    config = tiny_train_config(**CONV)
    architecture = config.architecture((8, 8, 1), classes=3)
    assert len(precision_choice.measure(architecture, Elbo(), batch_size=3)) == 2


# --- the cache ------------------------------------------------------------------------------------


def test_another_processor_is_measured_by_itself(measurement, example_set, monkeypatch):
    for calls, model in ((1, "One"), (2, "Other"), (2, "One")):
        monkeypatch.setattr(processor, "model", lambda model=model: model)
        settled(example_set)
        assert measurement.calls == calls


def test_the_measurement_is_made_once(measurement, example_set):
    first = settled(example_set)
    measurement.milliseconds = SLOW
    assert settled(example_set) == first
    assert measurement.calls == 1
    # Neither does it depend on settings that change no step.
    assert settled(example_set, epochs=9, learning_rate=0.1) == first
    assert measurement.calls == 1


@pytest.mark.parametrize(
    "fields",
    [{"widths": (2, 6)}, {"activation": "silu"}, {"batch_size": 20}, {"head": "causal"}],
)
def test_another_model_is_measured_by_itself(measurement, example_set, fields):
    settled(example_set)
    measurement.milliseconds = SLOW
    assert settled(example_set, **fields).precision == "float32"
    assert measurement.calls == 2


@pytest.mark.parametrize("content", ["", "[1]", '{"float32": 1}', '{"float32": 1, "bfloat16": 0}'])
def test_a_useless_file_in_the_cache_is_replaced(measurement, example_set, tmp_path, content):
    settled(example_set)
    (cached,) = (path for path in (tmp_path / "cache").rglob("*") if path.is_file())
    good = cached.read_text()
    cached.write_text(content)
    assert settled(example_set).measured == FAST
    assert measurement.calls == 2
    assert cached.read_text() == good


def test_without_a_cache_every_run_measures(measurement, example_set, tmp_path):
    (tmp_path / "cache").write_text("a file is in the way")
    for calls in (1, 2):
        assert settled(example_set).precision == "bfloat16"
        assert measurement.calls == calls


# --- resumed runs ---------------------------------------------------------------------------------


def test_the_manifest_has_the_choice_and_the_times(measurement, examples_dir, tmp_path, capsys):
    train(examples_dir, tmp_path / "model")
    assert counts(tmp_path / "model") == ("bfloat16", FAST)
    said = capsys.readouterr().err
    assert "a step takes 3.0 ms in float32 and 2.0 ms in bfloat16 of CPU time" in said
    outputs = load_artifact(tmp_path / "model", stage="train").manifest.outputs
    assert outputs[PRECISION_FILE].volatile


def test_a_resumed_run_computes_as_it_began(measurement, examples_dir, tmp_path, monkeypatch):
    train(examples_dir, tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killed_after(1, patch)
        train(examples_dir, tmp_path / "model")
    shutil.rmtree(tmp_path / "cache")
    measurement.milliseconds = SLOW
    train(examples_dir, tmp_path / "model")
    assert counts(tmp_path / "model") == ("bfloat16", FAST)
    assert measurement.calls == 1
    assert_same_run(tmp_path / "model", tmp_path / "whole")


def test_a_draft_of_an_earlier_version_computes_as_it_began(
    measurement, examples_dir, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killed_after(1, patch)
        patch.setattr(precision_choice, "with_precision", lambda devices, *_: devices)
        train(examples_dir, tmp_path / "model")
    train(examples_dir, tmp_path / "model")
    assert counts(tmp_path / "model") == ("float32", None)
    assert measurement.calls == 0


@pytest.mark.parametrize(("before", "after"), [(FAST, SLOW), (SLOW, FAST)])
def test_an_extended_run_computes_as_it_began(measurement, examples_dir, tmp_path, before, after):
    measurement.milliseconds = before
    train(examples_dir, tmp_path / "model", schedule="constant")
    began = counts(tmp_path / "model")
    shutil.rmtree(tmp_path / "cache")
    measurement.milliseconds = after
    train(examples_dir, tmp_path / "model", schedule="constant", epochs=3, extend=True)
    assert counts(tmp_path / "model") == began
    assert measurement.calls == 1


def test_a_float16_draft_needs_a_gpu(measurement, example_set, tmp_path):
    precision_record.write(epath.Path(tmp_path), PrecisionRecord("float16"))
    with pytest.raises(ConfigError, match="computes in float16, which needs a GPU") as error:
        settled(example_set, tmp_path)
    assert "\n" not in str(error.value)


# --- the dry run ----------------------------------------------------------------------------------


def test_a_dry_run_says_which_and_why(measurement, example_set):
    text = dry_run.describe(tiny_train_config(**CONV), RunOptions(), example_set)
    (line,) = (line for line in text.splitlines() if line.startswith("precision"))
    assert line.split(maxsplit=1)[1] == (
        "bfloat16 (a step takes 3.0 ms in float32 and 2.0 ms in bfloat16 of CPU time), "
        "not compiled by XLA"
    )
