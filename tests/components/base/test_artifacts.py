import dataclasses
import os
import shutil
import subprocess
import sys

import pytest
from etils import epath

from components.base import artifacts, files
from components.base.artifacts import ArtifactPlan, atomic_write
from components.base.errors import ConfigError, WorkError
from components.base.manifest import Input, OutputRecord, load_artifact

FINGERPRINT = "a" * 64


def plan_in(directory, *, config=None, fingerprint=FINGERPRINT) -> ArtifactPlan:
    return ArtifactPlan(
        stage="prepare",
        directory=epath.Path(directory) / "target",
        config={"size": 3} if config is None else config,
        inputs={"source": Input(None, fingerprint)},
    )


def publish(plan: ArtifactPlan, text: str = "x", **kwargs) -> None:
    with plan.publish(**kwargs) as draft:
        (draft.path / "folder").mkdir()
        (draft.path / "folder" / "file").write_text(text)
        draft.counts = {"files": 1}
        draft.notes.append("a note")


def test_an_artifact_is_published_with_a_complete_manifest(tmp_path):
    plan = plan_in(tmp_path)
    publish(plan)
    manifest = load_artifact(plan.directory, stage="prepare").manifest
    assert list(manifest.outputs) == ["folder/file"]
    assert manifest.outputs["folder/file"].bytes == 1
    assert manifest.counts == {"files": 1}
    assert manifest.notes == ["a note"]
    assert manifest.versions["numpy"]
    assert not plan.draft_directory.exists()
    assert plan.is_up_to_date(overwrite=False)


def test_digests_that_the_work_knows_are_those_of_the_manifest(tmp_path):
    plan = plan_in(tmp_path)
    with plan.publish() as draft:
        (draft.path / "shard").write_text("x")
        (draft.path / "statistics").write_text("y")
        draft.outputs = {"shard": OutputRecord(1, "b" * 64)}
    outputs = load_artifact(plan.directory, stage="prepare").manifest.outputs
    assert outputs["shard"].sha256 == "b" * 64
    assert outputs["statistics"].sha256 == files.sha256(plan.directory / "statistics")


def test_nothing_is_published_if_the_work_fails(tmp_path):
    plan = plan_in(tmp_path)
    with pytest.raises(RuntimeError), plan.publish() as draft:
        (draft.path / "partial").write_text("partial")
        raise RuntimeError
    assert not plan.directory.exists()
    assert not plan.is_up_to_date(overwrite=False)
    publish(plan)
    assert not (plan.directory / "partial").exists()


def test_a_resumed_draft_keeps_its_files_except_temporary_ones(tmp_path):
    plan = plan_in(tmp_path)
    with pytest.raises(RuntimeError), plan.publish(resume=True) as draft:
        (draft.path / "checkpoint").write_text("kept")
        (draft.path / f"partial.{'1' * 32}.tmp").write_text("partial")
        raise RuntimeError
    with plan.publish(resume=True) as draft:
        assert (draft.path / "checkpoint").read_text() == "kept"
        assert not (draft.path / f"partial.{'1' * 32}.tmp").exists()
        (draft.path / f"late.{'2' * 32}.tmp").write_text("left by a worker that was killed")
    assert sorted(os.listdir(plan.directory)) == ["checkpoint", "manifest.json"]


def test_a_resumed_draft_keeps_an_artifact_in_it(tmp_path):
    plan, inner = plan_in(tmp_path), plan_in(tmp_path / "target.draft")
    with pytest.raises(RuntimeError), plan.publish(resume=True) as draft:
        publish(inner)
        (draft.path / "manifest.json").write_text("partial")
        raise RuntimeError
    with plan.publish(resume=True) as draft:
        assert inner.is_up_to_date(overwrite=False)
        assert not (draft.path / "manifest.json").exists()


def test_a_draft_with_a_link_is_not_resumed(tmp_path):
    plan, elsewhere = plan_in(tmp_path), tmp_path / "elsewhere"
    elsewhere.mkdir()
    with pytest.raises(RuntimeError), plan.publish(resume=True):
        raise RuntimeError
    link = tmp_path / plan.draft_directory.name / "checkpoints"
    link.symlink_to(elsewhere)
    with pytest.raises(ConfigError, match=f"{link} is a link, .*; move it away, and run"):
        publish(plan, resume=True)
    link.unlink()
    publish(plan, resume=True)


def test_a_draft_without_work_is_not_in_the_way(tmp_path):
    with pytest.raises(RuntimeError), plan_in(tmp_path).publish(resume=True):
        raise RuntimeError
    other = plan_in(tmp_path, config={"size": 4})
    publish(other, resume=True)
    assert other.is_up_to_date(overwrite=False)


def test_a_draft_of_another_config_is_not_resumed(tmp_path):
    with pytest.raises(RuntimeError), plan_in(tmp_path).publish(resume=True) as draft:
        (draft.path / "data").write_text("a day's work")
        raise RuntimeError
    other = plan_in(tmp_path, config={"size": 4})
    with (
        pytest.raises(ConfigError, match="unfinished artifact: size is 3, not the requested 4"),
        other.publish(resume=True),
    ):
        pass
    with (
        pytest.raises(ConfigError, match="choose a new directory, or delete this one"),
        other.publish(resume=True, rebuild=True),
    ):
        pass
    with other.publish(resume=True, overwrite=True):
        pass
    assert other.is_up_to_date(overwrite=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": {"size": 4}}, "size is 3, not the requested 4"),
        ({"config": {"size": 3, "seed": 1}}, "seed is None, not the requested 1"),
        (
            {"fingerprint": "b" * 64},
            "input source is aaaaaaaaaaaa, not the requested bbbbbbbbbbbb",
        ),
    ],
)
def test_a_different_artifact_is_refused_with_the_differences(tmp_path, changes, message):
    publish(plan_in(tmp_path))
    with pytest.raises(ConfigError, match=f"holds a different artifact: {message}"):
        plan_in(tmp_path, **changes).is_up_to_date(overwrite=False)
    assert (tmp_path / "target/folder/file").read_text() == "x"


def test_overwrite_replaces_an_artifact(tmp_path):
    publish(plan_in(tmp_path), "old")
    plan = plan_in(tmp_path, config={"size": 4})
    assert not plan.is_up_to_date(overwrite=True)
    publish(plan, "new", overwrite=True)
    assert (plan.directory / "folder/file").read_text() == "new"
    assert os.listdir(tmp_path) == ["target"]


def test_rebuild_replaces_an_artifact_that_is_up_to_date(tmp_path):
    plan = plan_in(tmp_path)
    publish(plan, "old")
    with pytest.raises(WorkError, match="up to date"):
        publish(plan, "new")
    publish(plan, "new", rebuild=True)
    assert (plan.directory / "folder/file").read_text() == "new"


def test_a_directory_of_the_user_is_never_replaced(tmp_path):
    plan = plan_in(tmp_path)
    (tmp_path / "target").mkdir()
    (tmp_path / "target/photo.png").write_text("photo")
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match="not an artifact of this pipeline"):
            plan.is_up_to_date(overwrite=overwrite)
    assert (tmp_path / "target/photo.png").read_text() == "photo"


def test_an_empty_directory_is_replaced(tmp_path):
    plan = plan_in(tmp_path)
    plan.directory.mkdir()
    assert not plan.is_up_to_date(overwrite=False)
    publish(plan)
    assert plan.is_up_to_date(overwrite=False)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("text", ["[]", '{"name": "an app"}'])
def test_a_directory_with_another_manifest_is_never_replaced(tmp_path, text, overwrite):
    plan = plan_in(tmp_path)
    plan.directory.mkdir()
    (plan.directory / "manifest.json").write_text(text)
    with pytest.raises(ConfigError, match="not an artifact of this pipeline"):
        plan.is_up_to_date(overwrite=overwrite)


@pytest.mark.parametrize("text", ["", '{"stage": "prepare"}', "\x00", "{"])
def test_a_directory_with_a_damaged_manifest_is_never_replaced_but_named(tmp_path, text):
    plan = plan_in(tmp_path)
    publish(plan)
    (plan.directory / "manifest.json").write_text(text)
    for replace in (
        lambda: plan.is_up_to_date(overwrite=False),
        lambda: plan.is_up_to_date(overwrite=True),
        lambda: publish(plan, overwrite=True),
        lambda: publish(plan, rebuild=True),
    ):
        with pytest.raises(WorkError, match=f"or remove {plan.directory} by hand and run"):
            replace()
    assert (plan.directory / "folder/file").read_text() == "x"
    shutil.rmtree(plan.directory)
    publish(plan)
    assert plan.is_up_to_date(overwrite=False)


def test_a_replacement_interrupted_between_its_renames_is_undone(tmp_path):
    plan = plan_in(tmp_path)
    publish(plan)
    (plan.directory / "being_replaced").touch()
    plan.directory.rename(tmp_path / "target.replaced")
    plan.recover_replacement()
    assert sorted(os.listdir(plan.directory)) == ["folder", "manifest.json"]
    assert (plan.directory / "folder/file").read_text() == "x"
    assert plan.is_up_to_date(overwrite=False)


def test_a_replacement_interrupted_after_its_renames_is_finished(tmp_path):
    plan = plan_in(tmp_path)
    publish(plan, "old")
    plan.directory.rename(tmp_path / "old")
    publish(plan, "new")
    (tmp_path / "old" / "being_replaced").touch()
    (tmp_path / "old").rename(tmp_path / "target.replaced")
    assert plan.is_up_to_date(overwrite=False)
    assert (plan.directory / "folder/file").read_text() == "new"
    assert not (tmp_path / "target.replaced").exists()


@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_a_damaged_artifact_is_not_up_to_date(tmp_path, damage):
    plan = plan_in(tmp_path)
    publish(plan)
    file = plan.directory / "folder/file"
    file.write_text("") if damage == "truncated" else file.unlink()
    with pytest.raises(WorkError, match="folder/file"):
        plan.is_up_to_date(overwrite=False)
    assert not plan.is_up_to_date(overwrite=True)


def test_only_one_process_writes_a_draft(tmp_path):
    plan = plan_in(tmp_path)
    plan.draft_directory.mkdir()
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, os, sys; fd = os.open(sys.argv[1], os.O_RDONLY); "
            "fcntl.flock(fd, fcntl.LOCK_EX); print('locked', flush=True); sys.stdin.read()",
            os.fspath(plan.draft_directory),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout.readline() == b"locked\n"
    with pytest.raises(WorkError, match="another process is writing"), plan.publish():
        pass
    holder.communicate()
    publish(plan)
    assert plan.is_up_to_date(overwrite=False)


def test_work_is_kept_if_publishing_fails(tmp_path, monkeypatch):
    plan = plan_in(tmp_path)
    monkeypatch.setattr(artifacts, "package_versions", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        publish(plan, resume=True)
    monkeypatch.undo()
    with plan.publish(resume=True) as draft:
        assert (draft.path / "folder/file").read_text() == "x"
    assert plan.is_up_to_date(overwrite=False)


@pytest.mark.parametrize("name", ["target.draft", "target.replaced"])
def test_directories_of_the_user_next_to_the_target_are_never_changed(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.txt").write_text("thesis")
    with pytest.raises(ConfigError, match=f"{name} is in the way"):
        publish(plan_in(tmp_path))
    assert (tmp_path / name / "thesis.txt").read_text() == "thesis"


def test_a_copy_of_an_artifact_next_to_it_is_never_changed(tmp_path):
    plan = plan_in(tmp_path)
    publish(plan)
    shutil.copytree(plan.directory, tmp_path / "target.replaced")
    assert plan.is_up_to_date(overwrite=False)
    with pytest.raises(ConfigError, match=r"target\.replaced is in the way"):
        publish(plan_in(tmp_path, config={"size": 4}), overwrite=True)
    shutil.rmtree(plan.directory)
    assert not plan.is_up_to_date(overwrite=False)
    assert (tmp_path / "target.replaced/folder/file").read_text() == "x"


def test_an_artifact_whose_replacement_was_interrupted_before_its_renames_is_whole(tmp_path):
    plan = plan_in(tmp_path)
    publish(plan)
    (plan.directory / "being_replaced").touch()
    assert plan.is_up_to_date(overwrite=True)
    publish(plan_in(tmp_path, config={"size": 4}), "new", overwrite=True)
    assert sorted(os.listdir(plan.directory)) == ["folder", "manifest.json"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_draft_of_another_stage_is_not_discarded(tmp_path, overwrite):
    with pytest.raises(RuntimeError), plan_in(tmp_path).publish(resume=True) as draft:
        (draft.path / "checkpoint").write_text("kept")
        raise RuntimeError
    other = dataclasses.replace(plan_in(tmp_path), stage="train")
    message = "unfinished artifact of the prepare stage, which the train stage never discards"
    with pytest.raises(ConfigError, match=message), other.publish(overwrite=overwrite):
        pass
    assert (other.draft_directory / "checkpoint").read_text() == "kept"


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_artifact_of_another_stage_is_never_replaced(tmp_path, overwrite):
    publish(plan_in(tmp_path))
    other = dataclasses.replace(plan_in(tmp_path), stage="train")
    message = "holds an artifact of the prepare stage, which the train stage never replaces"
    with pytest.raises(ConfigError, match=message):
        other.is_up_to_date(overwrite=overwrite)
    with pytest.raises(ConfigError, match=message):
        publish(other, overwrite=overwrite)
    assert (other.directory / "folder/file").read_text() == "x"


@pytest.mark.parametrize(
    ("input_path", "relation"),
    [
        ("target", "is"),
        ("target/model", "contains"),
        ("target/../target/model/file", "contains"),
        ("link", "is"),
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_an_input_or_a_parent_of_an_input_is_never_replaced(
    tmp_path, input_path, relation, overwrite
):
    publish(plan_in(tmp_path))
    (tmp_path / "link").symlink_to(tmp_path / "target")
    inputs = {"examples": Input(epath.Path(tmp_path / input_path), FINGERPRINT)}
    plan = dataclasses.replace(plan_in(tmp_path), inputs=inputs, config={"size": 4})
    message = f"target {relation} the input 'examples' of this stage .*; choose another output"
    with pytest.raises(ConfigError, match=message):
        plan.is_up_to_date(overwrite=overwrite)
    with pytest.raises(ConfigError, match=message):
        publish(plan, overwrite=overwrite, rebuild=True)
    assert (plan.directory / "folder/file").read_text() == "x"


def test_an_input_next_to_the_target_with_a_name_that_begins_alike_is_no_obstacle(tmp_path):
    inputs = {"examples": Input(epath.Path(tmp_path / "target2"), FINGERPRINT)}
    publish(dataclasses.replace(plan_in(tmp_path), inputs=inputs))


@pytest.mark.parametrize("name", ["notes.txt", "model/weights", ".hidden"])
def test_files_that_are_not_part_of_the_artifact_are_never_lost(tmp_path, name):
    publish(plan_in(tmp_path))
    (tmp_path / "target" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "target" / name).write_text("mine")
    other = plan_in(tmp_path, config={"size": 4})
    for replace in (
        lambda: other.is_up_to_date(overwrite=True),
        lambda: publish(other, overwrite=True),
        lambda: publish(plan_in(tmp_path), rebuild=True),
    ):
        with pytest.raises(ConfigError, match=f"files that are not part of its artifact: .*{name}"):
            replace()
    assert (tmp_path / "target" / name).read_text() == "mine"
    # An artifact that is up to date is not replaced, so the file does no harm.
    assert plan_in(tmp_path).is_up_to_date(overwrite=True)


@pytest.mark.parametrize("name", ["mine", "folder/mine", "folder/deep/mine"])
@pytest.mark.parametrize("kind", ["empty directory", "link to a directory", "link to nothing"])
def test_what_the_user_put_into_an_artifact_is_never_lost(tmp_path, name, kind):
    publish(plan_in(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/photo").write_text("photo")
    path = tmp_path / "target" / name
    path.parent.mkdir(exist_ok=True)
    if kind == "empty directory":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / ("elsewhere" if kind == "link to a directory" else "absent"))
    with pytest.raises(ConfigError, match=f"not part of its artifact: {path}"):
        publish(plan_in(tmp_path, config={"size": 4}), overwrite=True)
    assert os.path.lexists(path)
    assert (tmp_path / "elsewhere/photo").read_text() == "photo"


def test_a_folder_of_an_artifact_that_the_user_replaced_by_a_link_is_not_lost(tmp_path):
    publish(plan_in(tmp_path))
    (tmp_path / "target/folder").rename(tmp_path / "elsewhere")
    (tmp_path / "target/folder").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=r"not part of its artifact: \S*target/folder"):
        publish(plan_in(tmp_path, config={"size": 4}), overwrite=True)


def test_a_stage_may_leave_empty_directories_in_its_draft(tmp_path):
    plan = plan_in(tmp_path)
    with plan.publish() as draft:
        (draft.path / "a/b/c").mkdir(parents=True)
        (draft.path / "a/d").mkdir()
        (draft.path / "a/d" / f"late.{'2' * 32}.tmp").touch()
        (draft.path / "file").touch()
    assert sorted(os.listdir(plan.directory)) == ["file", "manifest.json"]
    publish(plan, rebuild=True)


def test_a_file_of_the_user_in_a_draft_is_not_deleted(tmp_path):
    plan = plan_in(tmp_path)
    plan.draft_directory.mkdir()
    (plan.draft_directory / "my.tmp").write_text("mine")
    with pytest.raises(ConfigError, match=r"target\.draft is in the way"):
        publish(plan)
    assert (plan.draft_directory / "my.tmp").read_text() == "mine"


def test_a_draft_whose_plan_was_being_written_is_cleared(tmp_path):
    plan = plan_in(tmp_path)
    plan.draft_directory.mkdir()
    (plan.draft_directory / f"plan.json.{'0' * 32}.tmp").write_text("{")
    publish(plan)
    assert sorted(os.listdir(plan.directory)) == ["folder", "manifest.json"]


def test_a_link_to_a_directory_in_a_draft_is_not_followed(tmp_path):
    plan = plan_in(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/photo").write_text("photo")
    with (
        pytest.raises(WorkError, match="link is a directory, not a regular file"),
        plan.publish() as draft,
    ):
        os.symlink(tmp_path / "elsewhere", draft.path / "link")
    publish(plan)
    assert (tmp_path / "elsewhere/photo").read_text() == "photo"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"stage": 3}', "\x00", "[" * 10**5])
@pytest.mark.parametrize("resume", [False, True])
def test_a_draft_with_a_damaged_plan_is_named(tmp_path, text, resume):
    plan = plan_in(tmp_path)
    with pytest.raises(RuntimeError), plan.publish(resume=True):
        raise RuntimeError
    (plan.draft_directory / "plan.json").write_text(text)
    message = rf"plan\.json is damaged: .*; remove {plan.draft_directory} by hand"
    with pytest.raises(ConfigError, match=message) as caught:
        publish(plan, resume=resume)
    assert "\n" not in str(caught.value)


def test_files_added_while_the_stage_works_are_not_lost(tmp_path):
    publish(plan_in(tmp_path))
    other = plan_in(tmp_path, config={"size": 4})
    with (
        pytest.raises(ConfigError, match="added"),
        other.publish(resume=True, overwrite=True) as draft,
    ):
        (draft.path / "file").write_text("new")
        (other.directory / "added").write_text("mine")
    assert (other.directory / "added").read_text() == "mine"
    (other.directory / "added").unlink()
    with other.publish(resume=True, overwrite=True) as draft:
        assert (draft.path / "file").read_text() == "new"


@pytest.mark.parametrize("name", ["target.draft", "target.replaced"])
def test_names_that_the_stages_use_for_themselves_are_refused(tmp_path, name):
    plan = dataclasses.replace(plan_in(tmp_path), directory=epath.Path(tmp_path / name))
    with pytest.raises(ConfigError, match="choose another name"):
        plan.is_up_to_date(overwrite=False)


def test_an_artifact_that_another_process_has_just_published_is_not_replaced(tmp_path):
    plan, other = plan_in(tmp_path), plan_in(tmp_path, config={"size": 4})
    assert not plan.is_up_to_date(overwrite=False)
    publish(other, "other")
    with pytest.raises(ConfigError, match="size is 4, not the requested 3"):
        publish(plan)
    assert (plan.directory / "folder/file").read_text() == "other"


def test_overwrite_resumes_a_draft_of_the_same_plan(tmp_path):
    plan = plan_in(tmp_path)
    with pytest.raises(RuntimeError), plan.publish(resume=True, overwrite=True) as draft:
        (draft.path / "checkpoint").write_text("kept")
        raise RuntimeError
    with plan.publish(resume=True, overwrite=True) as draft:
        assert (draft.path / "checkpoint").exists()


def test_content_is_checked_only_with_overwrite_or_verify(tmp_path):
    plan = plan_in(tmp_path)
    publish(plan)
    assert plan.is_up_to_date(overwrite=True)
    (plan.directory / "folder/file").write_text("y")
    # Without `overwrite` only sizes are checked: reading all files would take too long.
    assert plan.is_up_to_date(overwrite=False)
    assert not plan.is_up_to_date(overwrite=True)
    with pytest.raises(WorkError, match="folder/file is damaged"):
        plan.is_up_to_date(overwrite=False, verify=True)
    assert not plan.is_up_to_date(overwrite=True, verify=True)


def test_a_file_is_written_completely_or_not_at_all(tmp_path):
    path = epath.Path(tmp_path / "file")
    with atomic_write(path) as temporary:
        temporary.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path) as temporary:
        temporary.write_text("partial")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_link_to_nothing_is_published_at_its_target(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "target").symlink_to("disk/new")
    publish(plan_in(tmp_path))
    publish(plan_in(tmp_path, config={"size": 4}), overwrite=True)
    assert plan_in(tmp_path, config={"size": 4}).is_up_to_date(overwrite=False)
    assert (tmp_path / "target").is_symlink()
    assert os.listdir(tmp_path / "disk") == ["new"]
    assert sorted(os.listdir(tmp_path)) == ["disk", "target"]


def test_a_directory_that_is_a_link_is_published_at_its_target(tmp_path):
    target = tmp_path / "disk" / "target"
    target.mkdir(parents=True)
    (tmp_path / "link").symlink_to(target)
    for config in ({"n": 1}, {"n": 2}):
        plan = artifacts.ArtifactPlan("test", epath.Path(tmp_path / "link"), config, {})
        assert plan.directory == target
        with plan.publish(overwrite=True) as draft:
            (draft.path / "file").write_text(str(config))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "link/file").read_text() == "{'n': 2}"
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["target"]


@pytest.mark.parametrize("target", ["local", "s3"])
def test_unfinished_work_of_another_plan_is_named_before_anything_is_done(
    target, tmp_path, object_store
):
    directory = epath.Path(tmp_path / "out" if target == "local" else "s3://bucket/out")
    plans = [ArtifactPlan("prepare", directory, {"size": size}, {}) for size in (3, 4)]
    plans[0].check_unfinished(overwrite=False)
    with pytest.raises(ZeroDivisionError), plans[0].publish() as draft:
        (draft.path / "file").write_text("work")
        raise ZeroDivisionError
    plans[0].check_unfinished(overwrite=False)
    with pytest.raises(ConfigError, match="different, unfinished artifact: "):
        plans[1].check_unfinished(overwrite=False)
    assert (plans[1].draft_directory / "file").read_text() == "work"
    plans[1].check_unfinished(overwrite=True)
    with plans[1].publish(overwrite=True):
        pass
    plans[1].check_unfinished(overwrite=False)
