import json
import os
import re

import pytest
from etils import epath

from components.base import files, manifest
from components.base.artifacts import ArtifactPlan
from components.base.errors import ConfigError, UserError, WorkError
from components.base.manifest import (
    Artifact,
    Input,
    InputRecord,
    Manifest,
    OutputRecord,
    describe_inputs,
    describe_outputs,
    differences,
    fingerprint,
    fingerprint_of_all,
    identity,
    is_plain_name,
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
    assert artifact.manifest.config == {"size": 3, "widths": [1, 2]}
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


@pytest.mark.parametrize("text", ["[]", "{}", "1", '{"name": "an app", "start_url": "."}'])
def test_the_manifests_of_other_programs_are_no_manifests(tmp_path, text):
    directory = epath.Path(tmp_path)
    (directory / "manifest.json").write_text(text)
    assert read_manifest(directory) is None
    assert published_config(directory) == {}
    with pytest.raises(ConfigError, match="not a finished artifact"):
        load_artifact(directory, stage="prepare")


@pytest.mark.parametrize("read", [read_manifest, published_config])
@pytest.mark.parametrize("text", ["", '{"stage": "prepare"}', "\x00", '{"outputs": {', "[" * 10**6])
def test_a_damaged_manifest_is_never_taken_for_none(tmp_path, text, read):
    directory = epath.Path(tmp_path)
    (directory / "manifest.json").write_text(text)
    message = rf"manifest.json is damaged: .*; restore it from a copy, or remove {tmp_path} by hand"
    with pytest.raises(WorkError, match=message) as caught:
        read(directory)
    assert "\n" not in str(caught.value)


def test_a_link_that_leads_nowhere_is_no_missing_manifest(tmp_path):
    (tmp_path / "manifest.json").symlink_to("absent")
    with pytest.raises(FileNotFoundError):
        read_manifest(epath.Path(tmp_path))


def test_a_manifest_survives_its_file(tmp_path):
    manifest = read_manifest(publish(tmp_path))
    assert Manifest.from_json(json.loads(manifest.to_json())) == manifest


def test_a_changed_value_is_recognized_by_the_digest(tmp_path):
    directory = publish(tmp_path)
    text = (directory / "manifest.json").read_text()
    (directory / "manifest.json").write_text(text.replace('"size": 3', '"size": 7'))
    with pytest.raises(WorkError, match="its content does not match its digest"):
        read_manifest(directory)


def test_every_flipped_bit_is_recognized(tmp_path):
    directory = publish(tmp_path)
    path = directory / "manifest.json"
    text = path.read_bytes()
    duration = re.search(rb'"wall_seconds": [0-9.]+', text)
    for position in range(len(text)):
        if duration.start() <= position < duration.end():
            continue
        flipped = bytearray(text)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        with pytest.raises(UserError) as caught:
            read_manifest(directory)
        assert "\n" not in str(caught.value)


def test_a_manifest_without_a_digest_is_one_from_before_there_were_digests(tmp_path):
    directory = publish(tmp_path)
    value = json.loads((directory / "manifest.json").read_text())
    del value["digest"]
    (directory / "manifest.json").write_text(json.dumps(value))
    assert read_manifest(directory).config["size"] == 3


@pytest.mark.parametrize(
    "name", ["a", "a/b", "..a", "a..", "a\\b", "é", "\udcff", ".hidden/x", "a b", "c:d"]
)
def test_names_within_a_directory_are_plain(name):
    assert is_plain_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../a", "a/../b", "/a", "//a", "a//b", "a/", "./a", "a/./b", "a/.."),
        *("..\\a", "a\\..\\b", "\\a", "\\\\host\\a", "a/..\\b", "a\0b", "\ud800", "gs://bucket/a"),
    ],
)
def test_other_names_are_not_plain(name):
    assert not is_plain_name(name)


def test_settings_and_counts_are_read_with_their_types(tmp_path):
    artifact = load_artifact(publish(tmp_path), stage="prepare")
    assert artifact.setting("size", int) == 3
    for name, kind, reason in (
        ("size", str, "config.size is 3, not text"),
        ("absent", int, "config.absent is missing"),
    ):
        with pytest.raises(WorkError, match=rf"manifest\.json is damaged: {reason}"):
            artifact.setting(name, kind)
    with pytest.raises(
        WorkError, match=r"manifest\.json is damaged: counts.fingerprint is missing"
    ):
        artifact.counts(InputRecord)


def test_an_output_that_is_not_listed_is_named(tmp_path):
    artifact = load_artifact(publish(tmp_path), stage="prepare")
    for look_up in (artifact.output, artifact.verified):
        with pytest.raises(WorkError, match=r"manifest\.json is damaged: it does not list absent"):
            look_up("absent")


def test_an_output_that_is_not_a_regular_file_is_not_opened(tmp_path):
    artifact = load_artifact(publish(tmp_path), stage="prepare")
    (artifact.path / "folder/file").unlink()
    os.mkfifo(artifact.path / "folder/file")
    for check in (artifact.check_sizes, artifact.check_content):
        with pytest.raises(WorkError, match="folder/file is a pipe"):
            check()


def test_checking_the_content_names_the_damaged_file(tmp_path):
    artifact = load_artifact(publish(tmp_path, log="now"), stage="prepare")
    artifact.check_content()
    (artifact.path / "log/times").write_text("new")
    with pytest.raises(WorkError, match="log/times is damaged"):
        artifact.check_content()


def test_published_config_is_empty_without_an_artifact(tmp_path):
    assert published_config(tmp_path / "absent") == {}
    assert published_config(publish(tmp_path))["size"] == 3


def test_inputs_are_described_relative_to_the_artifact(tmp_path):
    described = describe_inputs(
        {"examples": Input(epath.Path(tmp_path / "examples"), "a"), "drawn": Input(None, "b")},
        directory=epath.Path(tmp_path / "model"),
    )
    assert described == {
        "examples": InputRecord("a", "../examples"),
        "drawn": InputRecord("b"),
    }


def test_outputs_are_described_by_size_and_digest(tmp_path):
    directory = epath.Path(tmp_path)
    paths = [directory / "log/times", directory / "model"]
    paths[0].parent.mkdir()
    for path, text in zip(paths, ("now", "x"), strict=True):
        path.write_text(text)
    described = describe_outputs(paths, directory=directory, volatile_prefixes=("log/",))
    assert described == {
        "log/times": OutputRecord(3, files.sha256(paths[0]), volatile=True),
        "model": OutputRecord(1, files.sha256(paths[1])),
    }


def test_a_known_output_is_not_read_again_but_its_size_is_checked(tmp_path):
    directory = epath.Path(tmp_path)
    (directory / "shard").write_text("12345")
    paths = [directory / "shard"]
    known = OutputRecord(5, "b" * 64)  # Not the digest of the file.
    assert describe_outputs(paths, directory=directory, known={"shard": known}) == {"shard": known}
    with pytest.raises(WorkError, match=r"shard has 5 bytes, but 4 were written; .* run the same"):
        describe_outputs(paths, directory=directory, known={"shard": OutputRecord(4, "b" * 64)})


def test_an_output_whose_name_looks_like_a_path_is_not_published(tmp_path):
    directory = epath.Path(tmp_path)
    (directory / "..\\up").touch()
    with pytest.raises(WorkError, match="its name looks like a path; rename"):
        describe_outputs([directory / "..\\up"], directory=directory)


def test_an_identity_survives_json():
    fields = identity(stage="embed", config={"widths": (1, 2)}, fingerprints={"x": "c" * 64})
    assert json.loads(json.dumps(fields)) == fields
    assert fields == {"stage": "embed", "widths": [1, 2], "input x": "c" * 12}


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
    (text,) = differences({"a": "line\nbreak" * 1000}, {"a": 1})
    assert "\n" not in text
    assert len(text) < 300


def test_fingerprints_ignore_the_order_of_keys():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint([1, 2]) != fingerprint([2, 1])
    assert len(fingerprint(None)) == 64


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 6, 7])
def test_the_fingerprint_of_a_list_does_not_need_all_values_at_once(count, monkeypatch):
    values = [("ä/\udcff.png", number, {"b": 0.5, "a": [number]}) for number in range(count)]
    monkeypatch.setattr(manifest, "_FINGERPRINTED", 3)
    assert fingerprint_of_all(iter(values)) == fingerprint(values)
