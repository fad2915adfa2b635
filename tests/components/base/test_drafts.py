import pytest
from etils import epath

from components.base import drafts
from components.base.errors import ConfigError
from components.base.manifest import identity

WORK = identity(stage="prepare", config={"size": 3}, fingerprints={})
OTHER = identity(stage="prepare", config={"size": 4}, fingerprints={})


def can_resume(directory, existing, **options) -> bool:
    chosen = {"resume": True, "overwrite": False, "rebuild": False} | options
    return drafts.can_resume(epath.Path(directory), existing, WORK, **chosen)


def test_only_the_same_work_is_resumed(tmp_path):
    (tmp_path / "plan.json").touch()
    assert can_resume(tmp_path, WORK)
    assert not can_resume(tmp_path, WORK, resume=False)
    # Without any file, other work is nothing to lose.
    assert not can_resume(tmp_path, OTHER)
    (tmp_path / "data").touch()
    assert can_resume(tmp_path, WORK)
    assert not can_resume(tmp_path, OTHER, overwrite=True)
    with pytest.raises(ConfigError, match="discard it with --overwrite"):
        can_resume(tmp_path, OTHER)
    with pytest.raises(ConfigError, match="or delete this one"):
        can_resume(tmp_path, OTHER, rebuild=True)


def test_what_is_not_a_draft_of_the_stage_is_in_the_way(tmp_path):
    assert not can_resume(tmp_path / "absent", {})
    (tmp_path / f"plan.json.{'1' * 32}.tmp").touch()
    assert not can_resume(tmp_path, {})
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ConfigError, match="is in the way and is not a draft of this pipeline"):
        can_resume(tmp_path, {})
    with pytest.raises(ConfigError, match="unfinished artifact of the train stage, which the prep"):
        can_resume(tmp_path, WORK | {"stage": "train"}, overwrite=True)


def test_a_plan_is_read_or_damaged_or_absent(tmp_path):
    directory = epath.Path(tmp_path)
    assert drafts.read_plan(directory) == {}
    (directory / "plan.json").write_text('{"stage": "prepare", "size": 3}')
    assert drafts.read_plan(directory) == {"stage": "prepare", "size": 3}
    for damage in ("", "[]", "{}", '{"stage": 3}'):
        (directory / "plan.json").write_text(damage)
        with pytest.raises(ConfigError, match=r"plan\.json is damaged: .*; remove .* by hand"):
            drafts.read_plan(directory)


def test_temporary_files_and_empty_directories_are_no_outputs(tmp_path):
    for name in ("plan.json", "file", "folder/file", f"folder/file.{'1' * 32}.tmp", "a.tmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    found = [
        path.relative_to(tmp_path).as_posix()
        for path in drafts.collect_outputs(epath.Path(tmp_path))
    ]
    assert found == ["a.tmp", "file", "folder/file"]
    assert not (tmp_path / "empty").exists()


def test_the_remains_of_an_interrupted_run_are_removed(tmp_path):
    for name in ("manifest.json", "inner/manifest.json", "file", f"file.{'1' * 32}.tmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    drafts.discard_remains(epath.Path(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "inner"]
    assert (tmp_path / "inner/manifest.json").exists()
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(ConfigError, match="link is a link, which no unfinished work has"):
        drafts.discard_remains(epath.Path(tmp_path))


def test_a_directory_of_an_object_store_with_a_plan_and_no_manifest_is_not_finished(object_store):
    directory = epath.Path("s3://bucket/shards")
    drafts.check_finished(directory)
    object_store.objects["bucket/shards/plan.json"] = b"{}"
    with pytest.raises(ConfigError, match=r"s3://bucket/shards is not finished: it has plan\.json"):
        drafts.check_finished(directory)
    object_store.objects["bucket/shards/manifest.json"] = b"{}"
    drafts.check_finished(directory)


def test_a_local_file_named_like_a_plan_is_anybodys(tmp_path):
    (tmp_path / "plan.json").touch()
    drafts.check_finished(epath.Path(tmp_path))
