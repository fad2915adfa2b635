import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from etils import epath

from components.base.artifacts import ArtifactPlan
from components.base.errors import ConfigError, WorkError
from components.base.manifest import load_artifact
from tests.conftest import tiny_train_config
from tests.manifests import edit_manifest
from tests.trainer.test_train import Killed, assert_same_run, checkpoints, killed_after
from trainer import extension, stage
from trainer.recording.epoch_metrics import read_metrics

# A convolutional network is not compiled by XLA on the CPU, which saves seconds per run.
CONSTANT = {"network": "conv", "widths": (2, 4), "schedule": "constant", "steps_per_call": 4}
CONSTANT |= {"optimizer": "adam", "ema_decay": 0.9, "precision": "float32"}
COSINE = CONSTANT | {"schedule": "cosine", "beta_schedule": "linear", "beta": 2.0}
STEPS = 11  # Steps per epoch.


def train(examples_dir, output, **fields) -> None:
    options = {name: fields.pop(name) for name in ("extend", "overwrite") if name in fields}
    config = tiny_train_config(**CONSTANT | fields)
    stage.run("mlp", config, examples=examples_dir, output=output, **options)


def notes(output: Path) -> list[str]:
    return load_artifact(output, stage="train").manifest.notes


def extension_note(output: Path) -> str:
    (note,) = [note for note in notes(output) if "extended" in note]
    return note


def fingerprint(output: Path) -> str:
    return load_artifact(output, stage="train").fingerprint


@pytest.fixture(scope="module")
def two_epochs(examples_dir, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("two") / "model"
    train(examples_dir, directory)
    return directory


@pytest.fixture(scope="module")
def four_epochs(examples_dir, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("four") / "model"
    train(examples_dir, directory, epochs=4)
    return directory


@pytest.fixture
def model(two_epochs, tmp_path) -> Path:
    """A finished model of two epochs, of the test's own."""
    return Path(shutil.copytree(two_epochs, tmp_path / "model"))


def test_with_constant_schedules_the_result_is_that_of_the_longer_run(
    examples_dir, model, four_epochs, capsys
):
    train(examples_dir, model, epochs=4, extend=True)
    assert "train: resuming from step 22\n" in capsys.readouterr().err
    assert_same_run(model, four_epochs)
    assert fingerprint(model) == fingerprint(four_epochs)
    assert load_artifact(model, stage="train").manifest.config["epochs"] == 4
    assert extension_note(model).startswith("planned for 2 epochs, then extended to 4: ")
    assert sorted(path.name for path in model.parent.iterdir()) == ["model"]
    assert len(list((model / "tensorboard/train").iterdir())) == 2


def test_a_model_can_be_extended_again(examples_dir, model, four_epochs):
    for epochs in (3, 4):
        train(examples_dir, model, epochs=epochs, extend=True)
    assert_same_run(model, four_epochs)
    assert extension_note(model).startswith("planned for 2 epochs, then extended to 3, then 4: ")


def test_the_remaining_steps_follow_the_schedules_of_the_longer_run(examples_dir, tmp_path):
    short, long = tmp_path / "short", tmp_path / "long"
    train(examples_dir, short, **COSINE)
    train(examples_dir, long, epochs=4, **COSINE)
    before = read_metrics(short / "metrics.jsonl")
    train(examples_dir, short, epochs=4, extend=True, **COSINE)
    extended, whole = (read_metrics(path / "metrics.jsonl") for path in (short, long))
    settings = [
        [(row.step, row.learning_rate, row.beta) for row in rows] for rows in (extended, whole)
    ]
    assert extended[:2] == before
    assert settings[0][2:] == settings[1][2:]
    assert settings[0][:2] != settings[1][:2]
    assert extended[2:] != whole[2:]


def test_a_finished_extension_is_up_to_date(examples_dir, model, capsys):
    train(examples_dir, model, epochs=3, extend=True)
    for extend in (True, False):
        capsys.readouterr()
        train(examples_dir, model, epochs=3, extend=extend)
        assert capsys.readouterr().err == f"train: up to date ({model})\n"


@pytest.mark.parametrize("num_saves", [1, 2])
def test_a_killed_extension_leaves_the_model_and_is_resumed(
    examples_dir, model, four_epochs, monkeypatch, capsys, num_saves
):
    before = fingerprint(model)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killed_after(num_saves, patch)
        train(examples_dir, model, epochs=4, extend=True)
    assert fingerprint(model) == before
    assert load_artifact(model, stage="train").is_intact()
    capsys.readouterr()
    train(examples_dir, model, epochs=4, extend=True)
    assert f"train: resuming from step {STEPS * (2 + num_saves)}\n" in capsys.readouterr().err
    assert_same_run(model, four_epochs)
    assert extension_note(model).startswith("planned for 2 epochs, then extended to 4: ")


@pytest.mark.parametrize("num_files", range(5))
def test_an_extension_killed_while_it_copies_is_resumed(
    examples_dir, model, four_epochs, monkeypatch, num_files
):
    before = fingerprint(model)
    copied: list[str] = []
    copy = type(epath.Path(model)).copy

    def copy_and_die(self, target):
        if len(copied) == num_files:
            raise Killed
        copied.append(self.name)
        return copy(self, target)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(type(epath.Path(model)), "copy", copy_and_die)
        train(examples_dir, model, epochs=4, extend=True)
    assert not any(name.startswith("step-") for name in copied)
    assert fingerprint(model) == before
    train(examples_dir, model, epochs=4, extend=True)
    assert_same_run(model, four_epochs)


def test_an_extension_killed_between_the_renames_is_finished(
    examples_dir, model, four_epochs, monkeypatch
):
    rename = type(epath.Path(model)).rename

    def rename_or_die(self, target):
        if self.name == "model.draft":
            raise Killed
        return rename(self, target)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(type(epath.Path(model)), "rename", rename_or_die)
        train(examples_dir, model, epochs=4, extend=True)
    assert not model.exists()
    train(examples_dir, model, epochs=4, extend=True)
    assert_same_run(model, four_epochs)


def test_a_run_that_replaces_a_half_copied_draft_is_no_extension(
    examples_dir, model, four_epochs, monkeypatch
):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(type(epath.Path(model)), "copy", killed)
        train(examples_dir, model, epochs=4, extend=True)
    assert (model.parent / "model.draft" / extension.EXTENDED_FILE).exists()
    train(examples_dir, model, epochs=4, overwrite=True)
    assert_same_run(model, four_epochs)
    assert not any("extended" in note for note in notes(model))


def killed(*_):
    raise Killed


def test_more_epochs_without_the_option_name_it(examples_dir, model):
    with pytest.raises(
        ConfigError,
        match=r"epochs is 2, not the requested 4; .*--overwrite, or continue it: python -m trainer "
        r"\.\.\. --epochs 4 --extend$",
    ):
        train(examples_dir, model, epochs=4)
    assert not (model.parent / "model.draft").exists()


@pytest.mark.parametrize("fields", [{"epochs": 1}, {"epochs": 4, "seed": 1}])
def test_the_option_is_named_only_where_it_helps(examples_dir, model, fields):
    with pytest.raises(ConfigError, match="epochs is 2, not the requested") as error:
        train(examples_dir, model, **fields)
    assert "--extend" not in str(error.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"epochs": 1},
            "model cannot be extended: epochs is 2, not the requested 1; --extend only",
        ),
        ({"epochs": 4, "latents": 3}, "epochs is 2, not the requested 4; latents is 2, not .* 3; "),
        ({"seed": 7}, "cannot be extended: seed is 0, not the requested 7; --extend only raises"),
        ({"epochs": 4, "overwrite": True}, "--extend continues a model and --overwrite replaces"),
    ],
)
def test_any_other_change_is_refused_by_name(examples_dir, model, fields, message):
    before = fingerprint(model)
    with pytest.raises(ConfigError, match=message):
        train(examples_dir, model, extend=True, **fields)
    assert fingerprint(model) == before
    assert not (model.parent / "model.draft").exists()


def test_another_dataset_is_refused(examples_dir, model, tmp_path):
    from pipeline.prepare.stage import prepare
    from tests.conftest import tiny_prepare_config

    prepare(tiny_prepare_config(synthetic_size=300), output=tmp_path / "others")
    with pytest.raises(ConfigError, match=r"cannot be extended: epochs is .*; input examples is"):
        train(tmp_path / "others", model, epochs=4, extend=True)


def test_without_a_model_there_is_nothing_to_extend(examples_dir, tmp_path):
    with pytest.raises(ConfigError, match="model holds no finished model to extend"):
        train(examples_dir, tmp_path / "model", extend=True)
    assert not (tmp_path / "model").exists()


def test_the_dataset_cannot_be_extended(examples_dir, tmp_path):
    examples = shutil.copytree(examples_dir, tmp_path / "examples")
    with pytest.raises(ConfigError, match="stage is prepare, not the requested train"):
        train(examples, examples, extend=True)


@pytest.mark.parametrize("name", ["metrics.jsonl", "checkpoints/step-000000022.ckpt"])
def test_a_damaged_model_is_not_extended(examples_dir, model, name):
    content = (model / name).read_bytes()
    (model / name).write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(WorkError, match=f"{name} is damaged"):
        train(examples_dir, model, epochs=4, extend=True)
    assert checkpoints(model)
    assert not list((model.parent / "model.draft").glob("checkpoints/step-*"))


def plan_of(model: Path, epochs: int) -> ArtifactPlan:
    """A plan like that of a model, with other epochs."""
    artifact = load_artifact(model, stage="train")
    examples = load_artifact(
        epath.Path(model / artifact.manifest.inputs["examples"].path), stage="prepare"
    )
    config = artifact.manifest.config | {"epochs": epochs}
    inputs = {"examples": examples.as_input()}
    return ArtifactPlan(stage="train", directory=epath.Path(model), config=config, inputs=inputs)


@pytest.mark.parametrize(
    ("epochs", "extend", "overwrite", "expected"),
    [(3, True, False, True), (3, False, True, False), (2, True, False, False)],
)
def test_a_request_is_granted_if_the_model_has_fewer_epochs(
    two_epochs, epochs, extend, overwrite, expected
):
    plan = plan_of(two_epochs, epochs)
    assert expected == extension.is_requested(plan, extend=extend, overwrite=overwrite)


def test_a_host_that_does_not_see_the_model_takes_part(two_epochs, tmp_path):
    plan = dataclasses.replace(plan_of(two_epochs, 3), is_writer=False)
    elsewhere = dataclasses.replace(plan, directory=epath.Path(tmp_path / "none"))
    assert not extension.is_requested(elsewhere, extend=True, overwrite=False)
    assert extension.is_requested(plan, extend=True, overwrite=False)


def test_only_the_writer_finishes_a_replacement(model, tmp_path):
    plan = plan_of(model, 3)
    replaced = model.rename(model.with_name("model.replaced"))
    (replaced / "being_replaced").touch()
    other = dataclasses.replace(plan, is_writer=False)
    assert not extension.is_requested(other, extend=True, overwrite=False)
    assert not other.is_up_to_date(overwrite=False)
    assert not model.exists()
    assert extension.is_requested(plan, extend=True, overwrite=False)
    assert not replaced.exists()


def test_a_model_of_an_earlier_version_is_extended_with_the_settings_of_then(model):
    edit_manifest(model, lambda manifest: manifest["config"].pop("warmup_share"))
    now, then = plan_of(model, 3), plan_of(model, 3)
    now = dataclasses.replace(now, config=now.config | {"warmup_share": 0.1})
    then = dataclasses.replace(then, config=then.config | {"warmup_share": 1.0})
    assert extension.is_requested(then, extend=True, overwrite=False)
    with pytest.raises(ConfigError, match=r"warmup_share is 1\.0, not the requested 0\.1; "):
        extension.is_requested(now, extend=True, overwrite=False)


def test_a_model_that_was_replaced_meanwhile_is_not_extended(two_epochs, tmp_path):
    with pytest.raises(WorkError, match="another process has just replaced"):
        extension.copy_states(epath.Path(tmp_path), plan_of(two_epochs, 2))
    assert not list(tmp_path.iterdir())


def test_the_trace_of_an_extension(tmp_path):
    draft = epath.Path(tmp_path)
    assert extension.notes(draft, epochs=9) == []
    (draft / extension.EXTENDED_FILE).write_text(json.dumps([2, 5]))
    (note,) = extension.notes(draft, epochs=9)
    assert note.startswith("planned for 2 epochs, then extended to 5, then 9: ")
    extension.remove_record(draft)
    extension.remove_record(draft)
    assert extension.notes(draft, epochs=9) == []


@pytest.mark.parametrize("text", ["", "[2, 5", '{"a": 2}', '["2"]', "[2.5]", "[" * 70_000])
def test_a_damaged_trace_is_one_line(tmp_path, text):
    (tmp_path / extension.EXTENDED_FILE).write_text(text)
    with pytest.raises(
        WorkError, match=r"extended\.json is damaged: .*; restore the file"
    ) as error:
        extension.notes(epath.Path(tmp_path), epochs=9)
    assert "\n" not in str(error.value)
