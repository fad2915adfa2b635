import json

import pytest
from etils import epath

from components.base import files
from components.base.artifacts import ArtifactPlan
from components.base.errors import ConfigError, WorkError
from components.base.manifest import (
    Artifact,
    Input,
    describe_inputs,
    describe_outputs,
    differences,
    fingerprint,
    identity,
    load_artifact,
    published_config,
    read_manifest,
)


def publish(parent, text: str = "x", *, log: str = "") -> epath.Path:
    """Publishes an artifact with the outputs `folder/file` and `log/times`, the latter volatile."""
    plan = ArtifactPlan(
        stage="prepare",
        directory=epath.Path(parent) / "target",
        config={"size": 3, "widths": (1, 2)},
        inputs={"source": Input(None, "a" * 64)},
        volatile_prefixes=("log/",),
    )
    with plan.publish() as draft:
        for name, content in (("folder/file", text), ("log/times", log)):
            (draft.path / name).parent.mkdir()
            (draft.path / name).write_text(content)
    return plan.directory


def test_load_artifact_reads_what_was_published(tmp_path):
    artifact = load_artifact(publish(tmp_path), stage="prepare")
    assert artifact.manifest["config"] == {"size": 3, "widths": [1, 2]}
    assert artifact.as_input() == Input(artifact.path, artifact.fingerprint)
    assert artifact.is_intact()


def test_load_artifact_refuses_other_directories(tmp_path):
    with pytest.raises(ConfigError, match=r"not a finished artifact .* train stage first"):
        load_artifact(tmp_path, stage="train")
    directory = publish(tmp_path)
    with pytest.raises(ConfigError, match="made by the prepare stage"):
        load_artifact(directory, stage="train")
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest["format_version"] = 99
    (directory / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match="format version 99"):
        load_artifact(directory, stage="prepare")


def test_load_artifact_refuses_a_draft(tmp_path):
    draft = publish(tmp_path).rename(tmp_path / "target.draft")
    with pytest.raises(ConfigError, match="not a finished artifact"):
        load_artifact(draft, stage="prepare")


@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_load_artifact_detects_missing_and_truncated_files(tmp_path, damage):
    directory = publish(tmp_path)
    file = directory / "folder/file"
    file.write_text("") if damage == "truncated" else file.unlink()
    with pytest.raises(WorkError, match="folder/file"):
        load_artifact(directory, stage="prepare")
    artifact = load_artifact(directory, stage="prepare", check_sizes=False)
    assert not artifact.is_intact()


def test_outputs_are_verified_by_their_content(tmp_path):
    artifact = load_artifact(publish(tmp_path), stage="prepare")
    assert artifact.verified("folder/file").read_text() == "x"
    (artifact.path / "folder/file").write_text("y")
    artifact.check_sizes()
    assert not artifact.is_intact()
    with pytest.raises(WorkError, match="folder/file is damaged"):
        artifact.verified("folder/file")


def test_the_fingerprint_ignores_the_directory_and_volatile_outputs(tmp_path):
    first, again, other = (
        load_artifact(publish(tmp_path / name, text, log=name), stage="prepare").fingerprint
        for name, text in (("a", "x"), ("b", "x"), ("c", "y"))
    )
    assert first == again != other


@pytest.mark.parametrize("text", ["", "[]", '{"stage": "prepare"}', "\x00"])
def test_other_json_files_are_not_manifests(tmp_path, text):
    directory = epath.Path(tmp_path)
    (directory / "manifest.json").write_text(text)
    assert read_manifest(directory) is None
    assert published_config(directory) == {}
    with pytest.raises(ConfigError, match="not a finished artifact"):
        load_artifact(directory, stage="prepare")


def test_published_config_is_empty_without_an_artifact(tmp_path):
    assert published_config(tmp_path / "absent") == {}
    assert published_config(publish(tmp_path))["size"] == 3


def test_inputs_are_described_relative_to_the_artifact(tmp_path):
    described = describe_inputs(
        {"examples": Input(epath.Path(tmp_path / "examples"), "a"), "drawn": Input(None, "b")},
        directory=epath.Path(tmp_path / "model"),
    )
    assert described == {
        "examples": {"fingerprint": "a", "path": "../examples"},
        "drawn": {"fingerprint": "b"},
    }


def test_outputs_are_described_by_size_and_digest(tmp_path):
    directory = epath.Path(tmp_path)
    paths = [directory / "log/times", directory / "model"]
    paths[0].parent.mkdir()
    for path, text in zip(paths, ("now", "x"), strict=True):
        path.write_text(text)
    described = describe_outputs(paths, directory=directory, volatile_prefixes=("log/",))
    assert described == {
        "log/times": {"bytes": 3, "sha256": files.sha256(paths[0]), "volatile": True},
        "model": {"bytes": 1, "sha256": files.sha256(paths[1])},
    }


def test_an_identity_survives_json():
    fields = identity(stage="train", config={"widths": (1, 2)}, fingerprints={"x": "c" * 64})
    assert json.loads(json.dumps(fields)) == fields
    assert fields == {"stage": "train", "widths": [1, 2], "input x": "c" * 12}


def test_an_artifact_has_the_identity_of_its_plan(tmp_path):
    directory = publish(tmp_path)
    expected = identity(
        stage="prepare",
        config={"size": 3, "widths": (1, 2)},
        fingerprints={"source": "a" * 64},
    )
    assert Artifact(directory, read_manifest(directory)).identity() == expected


def test_differences_name_changed_added_and_removed_fields():
    assert differences({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 4, "d": 5}) == [
        "b is 2, not the requested 4",
        "c is 3, not the requested None",
        "d is None, not the requested 5",
    ]
    assert differences({"a": 1}, {"a": 1}) == []


def test_fingerprints_ignore_the_order_of_keys():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint([1, 2]) != fingerprint([2, 1])
    assert len(fingerprint(None)) == 64
