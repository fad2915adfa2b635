import json
import signal
import subprocess
import sys
import tempfile
import threading

import numpy as np
import pytest

import trainer
from components.api.trained_vae import TrainedVAE
from components.base.errors import ConfigError, Stopped, WorkError
from components.base.manifest import load_artifact
from components.model.registry import MODEL_FILE
from pipeline.prepare.stage import prepare
from tests.conftest import ROOT, tiny_prepare_config
from trainer import fitting, stage
from trainer.config import load_config
from trainer.precision_record import PRECISION_FILE
from trainer.recording.epoch_metrics import read_metrics
from trainer.recording.monitor import Monitor

# Not compiled by XLA, which saves seconds per run.
QUICK = {"preset": "conv", "widths": (2, 4), "latents": 2, "batch_size": 20, "epochs": 2}


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (60, 8, 8, 1), np.uint8)


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return np.arange(60) % 3


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    """The directory of temporary files, which every call leaves empty."""
    directory = tmp_path / "scratch"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    yield
    assert list(directory.glob("vae-*")) == []


def test_the_attribute_of_the_package_is_this_function():
    assert trainer.fit is fitting.fit
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        _ = trainer.fitt


def test_the_attribute_loads_tensorflow_on_first_use():
    script = (
        "import sys, trainer; assert 'tensorflow' not in sys.modules; "
        "from trainer import fit; assert callable(fit) and 'tensorflow' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_model_is_trained_and_the_same_call_trains_the_same_model(images):
    first = fitting.fit(images, **QUICK)
    assert [row.epoch for row in first.history] == [1, 2]
    assert first.history[1].step == 6
    assert first.history[1].heldout is None
    assert first.history[1].train != first.history[0].train
    second = fitting.fit(images, **QUICK)
    assert second.history == first.history
    np.testing.assert_array_equal(second.model.sample(3), first.model.sample(3))
    assert first.model.reconstruct(images).shape == images.shape


def test_bytes_floats_and_images_without_channels_train_the_same_model(images):
    history = fitting.fit(images, **QUICK).history
    assert fitting.fit(images / 255, **QUICK).history == history
    assert fitting.fit(images[..., 0], **QUICK).history == history


def test_a_directory_has_what_the_command_publishes(images, tmp_path, capsys):
    directory = tmp_path / "model"
    fitted = fitting.fit(images, directory=directory, validation=images[:20], **QUICK)
    artifact = load_artifact(directory, stage="train")
    artifact.check_content()
    names = {name.partition("/")[0] for name in artifact.manifest.outputs}
    assert names == {MODEL_FILE, PRECISION_FILE, "checkpoints", "metrics.jsonl", "tensorboard"}
    assert artifact.manifest.config["preset"] == "conv"
    # The dataset was temporary.
    assert artifact.manifest.inputs["examples"].path is None
    assert fitted.history == read_metrics(artifact.path / "metrics.jsonl")
    assert fitted.history[1].heldout is not None
    capsys.readouterr()
    again = fitting.fit(images, directory=directory, validation=images[:20], **QUICK)
    assert capsys.readouterr().err == f"train: up to date ({directory})\n"
    assert again.history == fitted.history
    np.testing.assert_array_equal(again.model.sample(2), TrainedVAE.load(directory).sample(2))


def test_another_model_in_the_directory_is_replaced_or_extended_only_if_asked(images, tmp_path):
    directory = tmp_path / "model"
    first = fitting.fit(images, directory=directory, **QUICK | {"epochs": 1})
    with pytest.raises(ConfigError, match="holds a different artifact: epochs is 1") as raised:
        fitting.fit(images, directory=directory, **QUICK)
    assert "overwrite=True" in str(raised.value)
    assert "continue it: fit(…, epochs=2, extend=True)" in str(raised.value)
    assert "--" not in str(raised.value)
    longer = fitting.fit(images, directory=directory, extend=True, **QUICK)
    assert len(longer.history) == 2
    assert longer.history[0] == first.history[0]
    other = np.roll(images, 1, axis=0)
    with pytest.raises(ConfigError, match="input examples is"):
        fitting.fit(other, directory=directory, **QUICK)
    replaced = fitting.fit(other, directory=directory, overwrite=True, **QUICK)
    assert replaced.history != longer.history


def test_a_model_equals_the_one_of_the_commands(tmp_path):
    """Trained on the same examples in the same order, by a command and by a call."""
    config = tiny_prepare_config(synthetic_size=60, validation_fraction=0)
    dataset = prepare(config, output=tmp_path / "examples")
    settings = {name: value for name, value in QUICK.items() if name != "preset"}
    stage.run(
        "conv",
        load_config("conv", overrides=settings),
        examples=tmp_path / "examples",
        output=tmp_path / "model",
    )
    examples = dataset.read("train")
    # In the order of the numbers in their ids, from which `fit` makes the same ids.
    order = np.argsort(examples.ids)
    fitted = fitting.fit(examples.images[order], **QUICK)
    assert fitted.history == read_metrics(dataset.path.parent / "model" / "metrics.jsonl")
    expected = TrainedVAE.load(tmp_path / "model").sample(4)
    np.testing.assert_array_equal(fitted.model.sample(4), expected)


def test_a_conditional_model_is_trained_on_labels(images, labels):
    conditional = {**QUICK, "condition": "label"}
    fitted = fitting.fit(
        images, labels=labels, validation=(images[:9], labels[:9].tolist()), **conditional
    )
    assert fitted.model.classes == 3
    assert fitted.history[0].heldout is not None
    shuffled = fitting.fit(images, labels=labels[::-1], **conditional)
    assert shuffled.history[1].train != fitted.history[1].train


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset": None}, r"preset must be one of .*mlp.*; labels are .* Received: NoneType"),
        ({"preset": "cnov"}, "unknown preset 'cnov'; nearest: conv"),
        ({"latent": 3}, "unknown field 'latent' in the arguments of fit; nearest: latents"),
        ({"latents": 0}, "latents must be at least 1. Received: 0"),
        ({"checkpoint_seconds": -1}, "checkpoint_seconds must be at least 0"),
        ({"condition": "label"}, "condition 'label' needs the labels of images"),
        ({"labels": [0, 1]}, "labels of images must be 60 integers"),
        ({"labels": np.full(60, -1)}, "labels of images must be 60 integers"),
        ({"labels": np.full(60, 65_536)}, "labels of images must be 60 integers"),
        ({"labels": np.zeros(60)}, "Received: dtype=float64"),
        ({"validation": ()}, "validation must be images, or a pair .* Received: 0 values"),
        ({"validation": np.zeros((5, 4, 4))}, "are 8x8x1, but those for validation are 4x4x1"),
        ({"validation": np.zeros(5)}, "validation must have shape .* shape=\\[5\\]"),
        ({"validation": np.full((5, 8, 8), 2.0)}, "values from 2 to 2"),
    ],
)
def test_wrong_arguments_are_rejected(images, tmp_path, arguments, message):
    with pytest.raises(ConfigError, match=message):
        fitting.fit(images, directory=tmp_path / "model", **QUICK | arguments)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("reduce --widths or --batch_size", "reduce widths or batch_size"),
        ("leave out --extend", "leave out extend=True"),
        ("prepare smaller images with --image_size", "prepare smaller images with --image_size"),
        ("a--b -- --", "a--b -- --"),
    ],
)
def test_errors_name_arguments_in_place_of_options(text, expected):
    assert fitting._in_python(text) == expected


def test_validation_without_labels_is_rejected_for_a_conditional_model(images, labels):
    with pytest.raises(ConfigError, match="needs the labels of validation"):
        fitting.fit(images, labels=labels, validation=images, condition="label")


@pytest.mark.parametrize("shape", [(8, 8), (0, 8, 8), (5, 8, 8, 2), (5, 0, 8), (1, 5, 8, 8, 1)])
def test_images_of_other_shapes_are_rejected(shape):
    with pytest.raises(ConfigError, match="images must have shape"):
        fitting.fit(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("images", [np.zeros((3, 8, 8), int), np.full((3, 8, 8), -1.0)])
def test_images_of_other_values_are_rejected(images):
    with pytest.raises(ConfigError, match="images are uint8 from 0 to 255, or floats from 0 to 1"):
        fitting.fit(images)


def test_one_of_several_hosts_is_rejected(images, monkeypatch):
    cluster = {"worker": ["one:1", "other:1"]}
    task = {"type": "worker", "index": 0}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    with pytest.raises(ConfigError, match="fit trains on one host, but TF_CONFIG lists several"):
        fitting.fit(images)


def test_a_failed_training_is_a_work_error(images):
    with pytest.raises(WorkError, match="not finite at step"):
        fitting.fit(images, **QUICK, optimizer="adam", learning_rate=1e30)


def test_a_file_that_cannot_be_written_is_a_work_error(images, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkError, match=str(tmp_path / "file")):
        fitting.fit(images, directory=tmp_path / "file" / "model", **QUICK)


def test_a_call_that_was_stopped_continues(images, tmp_path, monkeypatch):
    three_epochs = QUICK | {"epochs": 3}
    record_epoch = Monitor.record_epoch

    def stop(monitor, metrics, *arguments, **options):
        record_epoch(monitor, metrics, *arguments, **options)
        if metrics.epoch == 1:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Monitor, "record_epoch", stop)
        with pytest.raises(Stopped, match="SIGINT: stopped at step 6; make the same call again"):
            fitting.fit(images, directory=tmp_path / "model", **three_epochs)
        with pytest.raises(Stopped, match="nothing is kept of a run without a directory"):
            fitting.fit(images, **three_epochs)
    continued = fitting.fit(images, directory=tmp_path / "model", **three_epochs)
    assert len(continued.history) == 3
    assert continued.history == fitting.fit(images, **three_epochs).history


def test_a_model_is_trained_in_another_thread(images):
    fitted = []
    thread = threading.Thread(target=lambda: fitted.append(fitting.fit(images, **QUICK)))
    thread.start()
    thread.join()
    assert len(fitted[0].history) == 2
