import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from etils import epath

from components.base.errors import WorkError
from components.base.manifest import OutputRecord, load_artifact
from components.data import codec
from components.data.examples import ExampleBatch
from components.model.registry import MODEL_FILE
from pipeline.apply import engine
from pipeline.apply.inputs import dataset_tasks
from pipeline.apply.shard_task import MARK_SUFFIX, ShardTask
from pipeline.embed.config import ENCODER_COLUMNS
from pipeline.embed.embedding_tables import EmbeddingTables


@dataclasses.dataclass(frozen=True)
class ListedIds:
    """An application that lists the ids of a shard, and the sizes of its blocks."""

    lost: int = 0
    fails: bool = False

    def settings(self) -> dict[str, Any]:
        return {}

    def open(self, vae) -> "ListedIds":
        return self

    def write(self, task: ShardTask, blocks: Iterator[ExampleBatch]) -> dict[str, OutputRecord]:
        blocks = list(blocks)
        if self.fails:
            raise WorkError("no space left")
        text = json.dumps([example_id for block in blocks for example_id in block.ids[self.lost :]])
        path = epath.Path(f"{task.output}.json")
        path.write_text(text)
        epath.Path(f"{task.output}.sizes").write_text(json.dumps([len(b) for b in blocks]))
        return {path.name: OutputRecord(len(text), engine.files.sha256(path))}

    def read_ids(self, task: ShardTask) -> Iterator[list[str]]:
        return iter([json.loads(epath.Path(f"{task.output}.json").read_text())])


@pytest.fixture
def model(model_dir):
    return load_artifact(model_dir, stage="train")


@pytest.fixture
def tasks(example_set, tmp_path) -> list[ShardTask]:
    return dataset_tasks(example_set, epath.Path(tmp_path))


def apply(tasks, application, model) -> int:
    return engine.apply(tasks, application, model=model, stage="embed", verb="embedded")


def test_every_example_is_in_the_files_and_no_mark_is_left(tasks, model, example_set, tmp_path):
    assert apply(tasks, ListedIds(), model) == example_set.counts.kept
    for task in tasks:
        ids = json.loads((tmp_path / f"{task.stem}.json").read_text())
        assert ids == example_set.read(task.split).ids
    assert list(tmp_path.glob(f"*{MARK_SUFFIX}")) == []


def test_blocks_are_whole_batches(model, tmp_path):
    count = 7000
    images = np.zeros((count, 28, 28, 1), np.uint8)
    examples = ExampleBatch([str(n) for n in range(count)], images, np.zeros(count, np.int64))
    (tmp_path / "x.tfrecord").write_bytes(codec.encode(examples))
    path = epath.Path(tmp_path / "x.tfrecord")
    digest = engine.files.sha256(path)
    task = ShardTask(str(path), digest, count, (28, 28, 1), str(tmp_path / "x"))
    apply([task], ListedIds(), model)
    assert json.loads((tmp_path / "x.sizes").read_text()) == [2672, 2672, 1656]
    assert 2672 % 334 == 0


def test_a_second_call_does_what_is_missing(tasks, model, tmp_path):
    first, *others = tasks
    arguments = (str(model.path / MODEL_FILE), model.output(MODEL_FILE).sha256)
    engine.apply_to_shard(first, ListedIds(), *arguments)
    (tmp_path / f"{first.stem}.sizes").unlink()
    apply(tasks, ListedIds(), model)
    # The first shard was not read again.
    assert not (tmp_path / f"{first.stem}.sizes").exists()
    for task in others:
        assert (tmp_path / f"{task.stem}.sizes").exists()


@pytest.mark.parametrize("damage", ["file", "key", "mark", "missing"])
def test_a_shard_whose_files_or_mark_are_not_right_is_done_again(tasks, model, tmp_path, damage):
    first = tasks[0]
    arguments = (str(model.path / MODEL_FILE), model.output(MODEL_FILE).sha256)
    engine.apply_to_shard(first, ListedIds(), *arguments)
    file, mark = tmp_path / f"{first.stem}.json", tmp_path / f"{first.stem}{MARK_SUFFIX}"
    if damage == "file":
        file.write_text("[]")
    elif damage == "missing":
        file.unlink()
    elif damage == "mark":
        mark.write_text("{")
    else:
        mark.write_text(json.dumps(json.loads(mark.read_text()) | {"key": "0"}))
    (tmp_path / f"{first.stem}.sizes").unlink()
    apply(tasks, ListedIds(), model)
    assert (tmp_path / f"{first.stem}.sizes").exists()


def test_files_that_lack_an_example_are_not_accepted(tasks, model):
    with pytest.raises(WorkError, match=r"rows, which are not the \d+ examples of .*please report"):
        apply(tasks, ListedIds(lost=1), model)


def test_a_failure_leaves_no_mark(tasks, model, tmp_path):
    with pytest.raises(WorkError, match="no space left"):
        apply(tasks, ListedIds(fails=True), model)
    assert list(tmp_path.glob(f"*{MARK_SUFFIX}")) == []


@pytest.mark.parametrize(("change", "message"), [(-1, "more records than"), (1, "is missing")])
def test_a_shard_with_another_number_of_records_is_refused(tasks, model, change, message):
    wrong = dataclasses.replace(tasks[0], examples=tasks[0].examples + change)
    with pytest.raises(WorkError, match=message):
        apply([wrong], ListedIds(), model)


def test_a_shard_of_another_digest_is_refused(tasks, model):
    wrong = dataclasses.replace(tasks[0], sha256="0" * 64)
    with pytest.raises(WorkError, match="is damaged or belongs to another run"):
        apply([wrong], ListedIds(), model)


def test_a_model_that_is_replaced_before_a_task_is_refused(tasks, model, model_dir):
    with pytest.raises(WorkError, match=r"model\.keras is damaged or belongs to another run"):
        engine.apply_to_shard(tasks[0], ListedIds(), str(model_dir / MODEL_FILE), "0" * 64)


@pytest.mark.parametrize(
    "beam_args",
    [
        ["--direct_running_mode=multi_processing", "--direct_num_workers=2"],
        ["--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=LOOPBACK"],
    ],
    ids=["processes", "portable"],
)
def test_every_runner_writes_the_same_bytes(tasks, model, tmp_path, beam_args):
    tables = EmbeddingTables.of(model, columns=ENCODER_COLUMNS)
    apply(tasks, tables, model)
    expected = {path.name: path.read_bytes() for path in tmp_path.glob("*.parquet")}
    assert len(expected) == len(tasks)
    for path in tmp_path.glob("*.parquet"):
        path.unlink()
    engine.apply(tasks, tables, model=model, stage="embed", verb="embedded", beam_args=beam_args)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.parquet")} == expected


def test_results_are_computed_ahead_in_order_and_errors_are_raised():
    assert list(engine.mapped_ahead(lambda n: n * n, range(5))) == [0, 1, 4, 9, 16]

    def fail(number: int) -> int:
        if number == 2:
            raise WorkError("damaged")
        return number

    results = engine.mapped_ahead(fail, range(5))
    assert next(results) == 0
    assert next(results) == 1
    with pytest.raises(WorkError, match="damaged"):
        next(results)
