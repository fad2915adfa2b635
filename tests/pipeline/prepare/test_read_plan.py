import dataclasses

import pytest

from components.base.artifacts import ArtifactPlan
from components.base.errors import ConfigError
from components.base.manifest import Input
from components.ingest.rejection import Reason, Rejected
from components.sources.prepared import PreparedSource
from components.sources.source import Slice
from pipeline.prepare import read_plan, stage
from pipeline.prepare.messages import ReadTask
from pipeline.prepare.read_plan import ReadPlan
from tests.conftest import tiny_prepare_config
from tests.pipeline.prepare.listed_source import ListedSource, examples


def listed_source(*, num_bad: int = 2, split: str = "train") -> ListedSource:
    """A source of 80 inputs in three slices, the first of which cannot become examples."""
    items = examples(80, split=split)
    for number in range(num_bad):
        items[number] = Rejected(f"{split}-{number:08d}", split, 0, Reason.EMPTY, "no bytes")
    source = ListedSource({split: items}, per_slice=30)
    source.class_names = ["A", "B", "C"]
    return source


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """Prepares a source; returns the plan of its artifact."""

    def prepare(source: ListedSource) -> ArtifactPlan:
        monkeypatch.setattr(stage.registry, "open_source", lambda _: (source, []))
        stage.prepare(tiny_prepare_config(), output=tmp_path / "examples")
        return stage._artifact_plan(tiny_prepare_config(), source, tmp_path / "examples")

    return prepare


def plan_retry(plan: ArtifactPlan, source: ListedSource) -> ReadPlan | None:
    return read_plan.plan_retry(plan, source, validation_from_train=True)


def test_a_plan_of_everything_has_one_task_per_slice():
    source = listed_source()
    plan = read_plan.plan_all(source)
    assert [task.part for task in plan.tasks] == source.slices()
    assert [task.number for task in plan.tasks] == [0, 1, 2]
    assert {(task.source, task.wanted_ids) for task in plan.tasks} == {(0, None)}
    assert plan.max_inputs == plan.max_source_inputs == 80


def test_a_retry_reads_the_quarantine_and_the_kept_examples(prepared):
    source = listed_source()
    artifact_plan = prepared(source)
    plan = plan_retry(artifact_plan, source)
    assert plan.sources[0] is source
    assert plan.sources[1] == PreparedSource(artifact_plan.directory, validation_from_train=True)
    ids = frozenset({"train-00000000", "train-00000001"})
    assert plan.tasks[0] == ReadTask(0, 0, source.slices()[0], ids)
    assert [task.source for task in plan.tasks[1:]] == [1] * (len(plan.tasks) - 1)
    assert [task.number for task in plan.tasks] == list(range(len(plan.tasks)))
    assert (plan.max_inputs, plan.max_source_inputs) == (80, 2)


def test_there_is_no_retry_of_an_empty_quarantine(prepared):
    source = listed_source(num_bad=0)
    assert plan_retry(prepared(source), source) is None


def test_everything_is_read_again_if_the_class_names_have_changed(prepared):
    source = listed_source()
    artifact_plan = prepared(source)
    source.class_names = ["A", "B", "D"]
    assert plan_retry(artifact_plan, source) == read_plan.plan_all(source)


def test_everything_is_read_again_if_the_ids_do_not_say_where_the_inputs_are(prepared):
    source = listed_source(split="train")
    source.items["train"][0] = Rejected("own id", "train", 0, Reason.EMPTY, "no bytes")
    assert plan_retry(prepared(source), source) == read_plan.plan_all(source)


def test_other_inputs_must_not_have_changed(prepared, monkeypatch):
    source = listed_source()
    artifact_plan = prepared(source)
    monkeypatch.setattr(ListedSource, "fingerprint_without", lambda *_: "another")
    with pytest.raises(ConfigError, match="inputs of cats that are not in quarantine have changed"):
        plan_retry(artifact_plan, source)


def test_the_config_must_be_the_same(prepared):
    source = listed_source()
    directory = prepared(source).directory
    changed = stage._artifact_plan(tiny_prepare_config(duplicates="drop"), source, directory)
    with pytest.raises(ConfigError, match="was prepared with another config"):
        plan_retry(changed, source)


def test_there_must_be_something_to_retry(tmp_path):
    source = listed_source()
    plan = stage._artifact_plan(tiny_prepare_config(), source, tmp_path / "examples")
    with pytest.raises(ConfigError, match="not a finished artifact"):
        plan_retry(plan, source)


def test_slices_of_files_are_reduced_to_the_files_in_quarantine():
    slices = [
        Slice("train", "a", 0, 3, ("a/1.png", "a/2\n.png", "a/3.png")),
        Slice("train", "b", 3, 1, ("b/1.png",)),
    ]
    ids = {"a/1.png", "a/2%0A.png", "gone.png"}
    assert list(read_plan._parts_with(slices, ids)) == [
        (
            Slice("train", "a", 0, 2, ("a/1.png", "a/2\n.png")),
            frozenset({"a/1.png", "a/2%0A.png"}),
        )
    ]


def test_ids_with_an_index_are_found_in_their_slice():
    slices = [Slice("train", "0", 0, 10), Slice("train", "1", 10, 10), Slice("test", "0", 0, 10)]
    ids = {"train-00000010", "train-00000019", "test-00000003"}
    assert list(read_plan._parts_with(slices, ids)) == [
        (slices[1], frozenset({"train-00000010", "train-00000019"})),
        (slices[2], frozenset({"test-00000003"})),
    ]


def test_equal_work_has_the_same_key_and_any_change_another_one(tmp_path, monkeypatch):
    source = listed_source()

    def key(*, source=source, per_slice=30, wanted=None, **fields) -> str:
        source.per_slice = per_slice
        artifact_plan = stage._artifact_plan(tiny_prepare_config(**fields), source, tmp_path / "x")
        reads = read_plan.plan_all(source)
        tasks = [dataclasses.replace(task, wanted_ids=wanted) for task in reads.tasks]
        return ReadPlan([source], tasks).work_key(artifact_plan)

    class Changed(ListedSource):
        @property
        def input(self):
            return Input(None, "another fingerprint")

    keys = [
        key(),
        key(shard_bytes=1000),
        key(duplicates="drop"),
        key(per_slice=31),
        key(wanted=frozenset({"a"})),
        key(wanted=frozenset({"b"})),
        key(source=Changed(source.items)),
    ]
    monkeypatch.setattr(read_plan, "package_versions", lambda: {"pillow": "another"})
    keys.append(key())
    assert len(set(keys)) == len(keys)
    monkeypatch.undo()
    assert key() == keys[0]
