import dataclasses
from pathlib import Path

import pytest
from etils import epath

from components.base.manifest import OutputRecord
from pipeline.apply.shard_task import IdsDigest, ShardMark, ShardTask, work_key

TASK = ShardTask("in/x.tfrecord", "0" * 64, 3, (4, 6, 1), "out/x", "test", 7, ("a", "b"))
KEY = work_key(TASK, {}, "4" * 64)
MARK = ShardMark("key", 3, "1" * 64, {"x.parquet": OutputRecord(5, "2" * 64)})


def test_a_task_knows_its_directory_its_stem_and_its_mark():
    assert TASK.directory == epath.Path("out")
    assert TASK.stem == "x"
    assert TASK.mark == epath.Path("out/x.done.json")


def test_a_mark_is_read_as_it_was_written(tmp_path):
    path = epath.Path(tmp_path / "x.done.json")
    with pytest.raises(OSError, match=r"x\.done\.json"):
        ShardMark.read(path)
    MARK.write(path)
    assert ShardMark.read(path) == MARK
    Path(path).write_text("{")
    with pytest.raises(ValueError, match="JSON"):
        ShardMark.read(path)


@pytest.mark.parametrize(
    "change",
    [{"sha256": "3" * 64}, {"split": None}, {"first": 8}, {"class_names": ("a", "c")}],
    ids=lambda change: next(iter(change)),
)
def test_work_on_another_shard_has_another_key(change):
    assert work_key(dataclasses.replace(TASK, **change), {}, "4" * 64) != KEY


def test_work_of_another_model_or_with_other_settings_has_another_key():
    assert work_key(TASK, {}, "5" * 64) != KEY
    assert work_key(TASK, {"columns": ["id"]}, "4" * 64) != KEY
    # Where the files are does not matter.
    assert work_key(dataclasses.replace(TASK, output="other/x"), {}, "4" * 64) == KEY


def test_the_digest_of_ids_does_not_depend_on_their_parts():
    whole, parts, other = (IdsDigest() for _ in range(3))
    whole.update(["a", "bc", "é"])
    for part in (["a"], [], ["bc", "é"]):
        parts.update(part)
    other.update(["ab", "c", "é"])
    assert whole.hexdigest() == parts.hexdigest() != other.hexdigest()
    assert whole.count == parts.count == 3
