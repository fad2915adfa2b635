import dataclasses
import json
import os
import subprocess
import sys

import pytest
from etils import epath

from components.base import artifacts
from components.base.errors import ConfigError, WorkError

SOURCE = artifacts.Input(None, "a" * 64)


def plan_in(directory, *, config=None, fingerprint=SOURCE.fingerprint) -> artifacts.ArtifactPlan:
    return artifacts.ArtifactPlan(
        stage="prepare",
        directory=epath.Path(directory) / "target",
        config={"size": 3} if config is None else config,
        inputs={"source": artifacts.Input(None, fingerprint)},
    )


def publish(plan: artifacts.ArtifactPlan, text: str = "x", **kwargs) -> None:
    with plan.publish(**kwargs) as draft:
        (draft.path / "folder").mkdir()
        (draft.path / "folder" / "file").write_text(text)
        draft.counts = {"files": 1}


def test_published_whole_with_a_manifest_that_describes_every_file(tmp_path):
    plan = plan_in(tmp_path)
    publish(plan)
    artifact = artifacts.load(plan.directory, stage="prepare")
    assert list(artifact.manifest["outputs"]) == ["folder/file"]
    assert artifact.manifest["outputs"]["folder/file"]["bytes"] == 1
    assert artifact.manifest["counts"] == {"files": 1}
    assert artifact.manifest["versions"]["numpy"]
    assert not plan.draft_directory.exists()
    assert plan.is_done(overwrite=False)


def test_nothing_is_published_when_the_work_fails(tmp_path):
    plan = plan_in(tmp_path)
    with pytest.raises(RuntimeError), plan.publish() as draft:
        (draft.path / "half").write_text("half")
        raise RuntimeError
    assert not plan.directory.exists()
    assert not plan.is_done(overwrite=False)
    publish(plan)  # What the failed call left is cleared.
    assert not (plan.directory / "half").exists()


def test_a_resumed_draft_keeps_its_files_but_not_the_temporary_ones(tmp_path):
    plan = plan_in(tmp_path)
    with pytest.raises(RuntimeError), plan.publish(resume=True) as draft:
        (draft.path / "checkpoint").write_text("kept")
        (draft.path / "cut.1.tmp").write_text("half")
        raise RuntimeError
    with plan.publish(resume=True) as draft:
        assert (draft.path / "checkpoint").read_text() == "kept"
        assert not (draft.path / "cut.1.tmp").exists()


def test_a_draft_of_another_config_is_not_resumed(tmp_path):
    with pytest.raises(RuntimeError), plan_in(tmp_path).publish(resume=True):
        raise RuntimeError
    other = plan_in(tmp_path, config={"size": 4})
    with pytest.raises(ConfigError, match="size is 3 there, 4 asked"), other.publish(resume=True):
        pass
    with other.publish(resume=True, overwrite=True):
        pass
    assert other.is_done(overwrite=False)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"config": {"size": 4}}, "size is 3 there, 4 asked"),
        ({"config": {"size": 3, "seed": 1}}, "seed is None there, 1 asked"),
        ({"fingerprint": "b" * 64}, "input source is aaaaaaaaaaaa there, bbbbbbbbbbbb asked"),
    ],
)
def test_other_work_is_refused_by_the_names_of_what_differs(tmp_path, other, named):
    publish(plan_in(tmp_path))
    with pytest.raises(ConfigError, match=named):
        plan_in(tmp_path, **other).is_done(overwrite=False)
    assert (tmp_path / "target/folder/file").read_text() == "x"


def test_overwrite_replaces_an_artifact(tmp_path):
    publish(plan_in(tmp_path), "old")
    plan = plan_in(tmp_path, config={"size": 4})
    assert not plan.is_done(overwrite=True)
    publish(plan, "new", overwrite=True)
    assert (plan.directory / "folder/file").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["target"]


def test_a_folder_of_the_user_is_never_replaced(tmp_path):
    plan = plan_in(tmp_path)
    (tmp_path / "target").mkdir()
    (tmp_path / "target/photo.png").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match="no artifact of this pipeline"):
            plan.is_done(overwrite=overwrite)
    assert (tmp_path / "target/photo.png").read_text() == "mine"


def test_a_replacement_killed_between_its_renames_is_undone(tmp_path):
    plan = plan_in(tmp_path)
    publish(plan)
    plan.directory.rename(tmp_path / "target.replaced")
    assert plan.is_done(overwrite=False)
    assert (plan.directory / "folder/file").read_text() == "x"


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_missing_or_cut_file_is_found(tmp_path, damage):
    plan = plan_in(tmp_path)
    publish(plan)
    file = plan.directory / "folder/file"
    file.write_text("") if damage == "cut" else file.unlink()
    with pytest.raises(WorkError, match="folder/file"):
        plan.is_done(overwrite=False)
    with pytest.raises(WorkError, match="folder/file"):
        artifacts.load(plan.directory, stage="prepare")


def test_only_one_process_writes_a_draft(tmp_path):
    plan = plan_in(tmp_path)
    plan.draft_directory.mkdir()
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, os, sys; fd = os.open(sys.argv[1], os.O_RDONLY); "
            "fcntl.flock(fd, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()",
            os.fspath(plan.draft_directory),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(WorkError, match="another process"), plan.publish():
        pass
    holder.communicate()
    publish(plan)
    assert plan.is_done(overwrite=False)


def test_loading_names_what_is_wrong(tmp_path):
    with pytest.raises(ConfigError, match="no finished artifact"):
        artifacts.load(tmp_path, stage="train")
    plan = plan_in(tmp_path)
    publish(plan)
    with pytest.raises(ConfigError, match="made by the prepare stage"):
        artifacts.load(plan.directory, stage="train")
    manifest = json.loads((plan.directory / "manifest.json").read_text())
    manifest["format_version"] = 99
    (plan.directory / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match="format version 99"):
        artifacts.load(plan.directory, stage="prepare")


def test_the_fingerprint_is_that_of_the_work(tmp_path):
    fingerprints = []
    for name, text in (("a", "x"), ("b", "x"), ("c", "y")):
        plan = dataclasses.replace(plan_in(tmp_path / name), volatile=("log/",))
        with plan.publish() as draft:
            (draft.path / "file").write_text(text)
            (draft.path / "log").mkdir()
            (draft.path / "log/times").write_text(name)
        fingerprints.append(artifacts.load(plan.directory, stage="prepare").fingerprint)
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = epath.Path(tmp_path / "file")
    with artifacts.atomic_write(path) as temporary:
        temporary.write_text("old")
    with pytest.raises(RuntimeError), artifacts.atomic_write(path) as temporary:
        temporary.write_text("ha")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_work_whose_publication_fails_is_not_lost(tmp_path, monkeypatch):
    plan = plan_in(tmp_path)
    monkeypatch.setattr(artifacts, "_versions", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        publish(plan, resume=True)
    monkeypatch.undo()
    with plan.publish(resume=True) as draft:
        assert (draft.path / "folder/file").read_text() == "x"
    assert plan.is_done(overwrite=False)


def test_a_draft_is_never_taken_for_an_artifact(tmp_path):
    plan = plan_in(tmp_path)
    publish(plan)
    plan.directory.rename(plan.draft_directory)
    with pytest.raises(ConfigError, match="no finished artifact"):
        artifacts.load(plan.draft_directory, stage="prepare")


@pytest.mark.parametrize("name", ["target.draft", "target.replaced"])
def test_folders_of_the_user_beside_the_target_are_left_alone(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match=f"{name} is in the way"):
        publish(plan_in(tmp_path))
    assert (tmp_path / name / "thesis.txt").read_text() == "mine"


def test_the_draft_of_another_stage_is_left_alone(tmp_path):
    with pytest.raises(RuntimeError), plan_in(tmp_path).publish(resume=True):
        raise RuntimeError
    other = dataclasses.replace(plan_in(tmp_path), stage="train")
    with pytest.raises(ConfigError, match="stage is prepare there, train asked"), other.publish():
        pass


def test_what_another_process_published_meanwhile_is_not_replaced(tmp_path):
    one, other = plan_in(tmp_path), plan_in(tmp_path, config={"size": 4})
    assert not one.is_done(overwrite=False)
    publish(other, "theirs")
    with pytest.raises(ConfigError, match="size is 4 there, 3 asked"):
        publish(one, "ours")
    assert (one.directory / "folder/file").read_text() == "theirs"


def test_overwrite_goes_on_with_its_own_draft_and_keeps_what_is_up_to_date(tmp_path):
    plan = plan_in(tmp_path)
    with pytest.raises(RuntimeError), plan.publish(resume=True, overwrite=True) as draft:
        (draft.path / "checkpoint").write_text("kept")
        raise RuntimeError
    with plan.publish(resume=True, overwrite=True) as draft:
        assert (draft.path / "checkpoint").exists()
    assert plan.is_done(overwrite=True)
    (plan.directory / "checkpoint").write_text("evil")
    assert plan.is_done(overwrite=False)  # The size is right; reading all would take too long.
    assert not plan.is_done(overwrite=True)


@pytest.mark.parametrize("text", ["", "[]", '{"stage": "prepare"}', "\x00"])
def test_a_foreign_manifest_makes_no_artifact(tmp_path, text):
    plan = plan_in(tmp_path)
    plan.directory.mkdir()
    (plan.directory / "manifest.json").write_text(text)
    with pytest.raises(ConfigError, match="no artifact of this pipeline"):
        plan.is_done(overwrite=True)
    with pytest.raises(ConfigError, match="no finished artifact"):
        artifacts.load(plan.directory, stage="prepare")


def test_outputs_are_verified_by_their_bytes(tmp_path):
    plan = plan_in(tmp_path)
    publish(plan)
    artifact = artifacts.load(plan.directory, stage="prepare")
    assert artifact.verified("folder/file").read_text() == "x"
    (plan.directory / "folder/file").write_text("y")
    with pytest.raises(WorkError, match="folder/file is damaged"):
        artifact.verified("folder/file")
