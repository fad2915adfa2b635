import contextlib

import pytest
from etils import epath

from components.base import object_drafts
from components.base.artifacts import ArtifactPlan, atomic_write
from components.base.errors import ConfigError, WorkError
from components.base.manifest import Input, load_artifact
from tests.object_store import Killed, ObjectStore

TARGET = "s3://bucket/runs/target"
WORK = f"work-{'0' * 32}"


def plan_for(size: int = 3, *, stage: str = "prepare") -> ArtifactPlan:
    inputs = {"source": Input(None, "a" * 64)}
    return ArtifactPlan(stage, epath.Path(TARGET), {"size": size}, inputs)


def work(plan: ArtifactPlan, **options) -> list[str]:
    """Publishes as many files as the plan says; returns those that an earlier run had written."""
    resumed = []
    with plan.publish(**{"resume": True} | options) as draft:
        work_directory = draft.path / WORK
        with atomic_write(work_directory / "report") as path:
            path.write_text("{}")
        for number in range(plan.config["size"]):
            name = f"folder/file-{number}-of-{plan.config['size']}"
            if (draft.path / name).exists():
                resumed.append(name)
                continue
            with atomic_write(draft.path / name) as path:
                path.write_text(f"{plan.config['size']}: {number}")
        work_directory.rmtree()
    return resumed


def contents(store: ObjectStore) -> dict[str, bytes]:
    """The outputs; the manifest holds the time that the work took."""
    found = store.below(TARGET)
    del found["manifest.json"]
    return found


def is_readable() -> bool:
    """Whether readers accept the directory; what they accept is whole."""
    try:
        artifact = load_artifact(TARGET, stage="prepare")
    except ConfigError:  # It is not a finished artifact.
        return False
    artifact.check_content()
    return True


def test_files_are_written_once_at_their_final_keys_and_the_manifest_last(object_store):
    plan = plan_for()
    assert not plan.is_up_to_date(overwrite=False)
    work(plan)
    written = [key for kind, key in object_store.changes if kind == "PUT"]
    puts = [key.removeprefix("bucket/runs/target/") for key in written]
    outputs = [f"folder/file-{number}-of-3" for number in range(3)]
    assert puts == ["plan.json", f"{WORK}/report", *outputs, "manifest.json"]
    assert sorted(object_store.below(TARGET)) == [*outputs, "manifest.json"]
    assert len(object_store.objects) == 4
    assert plan.is_up_to_date(overwrite=False, verify=True)


def test_readers_refuse_a_directory_until_it_has_a_manifest(object_store):
    plan = plan_for()
    with plan.publish() as draft:
        (draft.path / "file").write_text("x")
        with pytest.raises(ConfigError, match=f"{TARGET} is not a finished artifact"):
            load_artifact(TARGET, stage="prepare")
        assert not plan.is_up_to_date(overwrite=False)
    assert is_readable()


def published_before(store: ObjectStore, options: dict) -> None:
    """What is in the store before the work of a test with these options of `publish`."""
    if options:
        work(plan_for(5))


@pytest.mark.parametrize("options", [{}, {"overwrite": True}, {"rebuild": True}])
def test_work_that_is_killed_at_any_change_is_continued_by_the_same_command(object_store, options):
    published_before(object_store, options)
    work(plan_for(), **options)
    expected = contents(object_store)
    resumed, num_changes = set(), 0
    while True:
        object_store.objects.clear()
        object_store.lives_for = None
        published_before(object_store, options)
        before = contents(object_store) if options else None
        object_store.changes.clear()
        object_store.lives_for = num_changes
        with contextlib.suppress(Killed):
            work(plan_for(), **options)
            break
        object_store.lives_for = None
        if is_readable():
            assert contents_without_plan(object_store) in (before, expected)
        # What is published already needs no further work. Every command does this.
        plan_for().recover_replacement()
        if not is_readable() or contents_without_plan(object_store) != expected:
            resumed |= set(work(plan_for(), **options))
        assert is_readable()
        assert contents_without_plan(object_store) == expected
        assert not object_store.below(f"{TARGET}.draft")
        num_changes += 1
    assert num_changes >= 8
    assert len(resumed) == 3


def contents_without_plan(store: ObjectStore) -> dict[str, bytes]:
    """The outputs, where the process may have been killed before it removed the plan file."""
    found = contents(store)
    found.pop("plan.json", None)
    return found


def test_other_unfinished_work_is_discarded_only_with_overwrite(object_store):
    with pytest.raises(RuntimeError), plan_for(3).publish(resume=True) as draft:
        (draft.path / "data").write_text("a day's work")
        raise RuntimeError
    with pytest.raises(
        ConfigError, match=f"{TARGET} holds a different, unfinished artifact: size is 3"
    ):
        work(plan_for(4))
    with pytest.raises(ConfigError, match="an unfinished artifact of the prepare stage"):
        work(plan_for(3, stage="train"), overwrite=True)
    assert "data" in object_store.below(TARGET)
    work(plan_for(4), overwrite=True)
    assert sorted(contents(object_store)) == [f"folder/file-{n}-of-4" for n in range(4)]


def test_a_directory_with_files_of_the_user_is_not_written_to(object_store):
    object_store.objects["bucket/runs/target/notes.txt"] = b"mine"
    with pytest.raises(ConfigError, match="exists but is not an artifact of this pipeline"):
        work(plan_for(), overwrite=True)
    del object_store.objects["bucket/runs/target/notes.txt"]
    work(plan_for())
    object_store.objects["bucket/runs/target/notes.txt"] = b"mine"
    for options in ({"overwrite": True}, {"rebuild": True}):
        with pytest.raises(ConfigError, match=r"not part of its artifact: .*notes.txt"):
            work(plan_for(4), **options)
    assert is_readable()


def test_the_published_artifact_is_there_until_a_rebuild_of_it_is_complete(object_store):
    work(plan_for(5))
    with plan_for(3).publish(rebuild=True) as draft:
        (draft.path / "file").write_text("new")
        assert is_readable()
        assert len(contents(object_store)) == 5
    assert contents(object_store) == {"file": b"new"}
    assert not object_store.below(f"{TARGET}.draft")


def test_a_replacement_lacking_a_file_is_not_published(object_store):
    work(plan_for(5))
    for name, content in object_store.below(TARGET).items():
        object_store.objects[f"bucket/runs/target.draft/{name}"] = content
    del object_store.objects["bucket/runs/target.draft/folder/file-2-of-5"]
    del object_store.objects["bucket/runs/target/folder/file-2-of-5"]
    del object_store.objects["bucket/runs/target/manifest.json"]
    with pytest.raises(WorkError, match=f"{TARGET}/folder/file-2-of-5 is missing"):
        plan_for(5).is_up_to_date(overwrite=False)
    assert not is_readable()


def test_of_two_writers_the_one_that_began_last_publishes(object_store):
    first, second = plan_for(3).publish(), plan_for(3).publish()
    draft = first.__enter__()
    (draft.path / "file").write_text("first")
    draft = second.__enter__()
    (draft.path / "file").write_text("second")
    with pytest.raises(WorkError, match=f"another process has begun to write {TARGET}"):
        first.__exit__(None, None, None)
    assert not is_readable()
    second.__exit__(None, None, None)
    assert contents(object_store) == {"file": b"second"}


def test_what_a_lost_worker_writes_late_is_no_part_of_the_artifact(object_store):
    late = epath.Path(TARGET) / WORK / "late"
    with plan_for(3).publish() as draft:
        (draft.path / "file").write_text("x")
        late.write_text("while the work ends")
    assert contents(object_store) == {"file": b"x"}
    late.write_text("after it")
    assert is_readable()
    work(plan_for(4), overwrite=True)
    assert sorted(contents(object_store)) == [f"folder/file-{n}-of-4" for n in range(4)]


def test_only_directories_named_like_work_are_intermediate():
    directory = epath.Path(TARGET)
    assert object_drafts.is_intermediate(directory / WORK / "read/1.json", directory)
    for name in ("work-of-art/1.png", "folder/work-" + "0" * 32 + "/x", "file"):
        assert not object_drafts.is_intermediate(directory / name, directory)
