import hashlib

import numpy as np
import pytest
from etils import epath

from components.base import json_lines
from components.base.artifacts import Draft
from components.base.errors import WorkError
from components.ingest.rejection import Reason, Rejected
from pipeline.prepare import quarantine, read_plan
from pipeline.prepare.build import build
from pipeline.prepare.config import PrepareConfig
from pipeline.prepare.summary import DUPLICATES
from tests.pipeline.prepare.listed_source import SHAPE, ListedSource, examples

BAD = Rejected("bad", "train", None, Reason.EMPTY, "no bytes")


def source_of(*others) -> ListedSource:
    test = examples(9, split="test", seed=1)
    return ListedSource({"train": [*examples(50), BAD, *others], "test": test})


def build_in(directory, source: ListedSource, *, duplicates: str = "keep", **options):
    """Builds a dataset; returns the draft and the counts."""
    draft = Draft(epath.Path(directory))
    config = PrepareConfig(dataset="cats", shard_bytes=500, duplicates=duplicates)
    counts, _, _ = build(
        *(draft, draft.path / "work", config, source, read_plan.plan_all(source)),
        **{
            "validation_fraction": 0.3,
            "needs_splits": True,
            "outline": [],
            "beam_args": [],
            **options,
        },
    )
    return draft, counts


def test_every_shard_is_an_output_with_its_digest(tmp_path):
    draft, counts = build_in(tmp_path, source_of())
    shards = [shard.file for split in counts.shards.values() for shard in split]
    assert sorted(draft.outputs) == sorted(shards)
    for name, output in draft.outputs.items():
        data = (tmp_path / name).read_bytes()
        assert (output.bytes, output.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert (counts.inputs, counts.kept, counts.quarantined) == (60, 59, 1)
    assert set(counts.examples) == {"train", "validation", "test"}


def test_no_work_is_left(tmp_path):
    build_in(tmp_path, source_of())
    assert not (tmp_path / "work").exists()
    listed = json_lines.read(epath.Path(tmp_path) / quarantine.QUARANTINE)
    assert [row["id"] for row in listed] == ["bad"]


def test_duplicates_are_listed_or_dropped_or_an_error(tmp_path):
    copy = ("copy", examples(1, seed=1)[0][1], 0)
    _, counts = build_in(tmp_path / "keep", source_of(copy))
    (group,) = json_lines.read(epath.Path(tmp_path) / "keep" / DUPLICATES)
    assert [image["id"] for image in group] == ["test-00000000", "copy"]
    assert counts.duplicates.images == 1
    _, counts = build_in(tmp_path / "drop", source_of(copy), duplicates="drop")
    assert counts.ledger["train"]["reasons"] == {"duplicate_content": 1, "empty": 1}
    with pytest.raises(WorkError, match="cats has 1 images more than once; the first is "):
        build_in(tmp_path / "error", source_of(copy), duplicates="error")
    assert not (tmp_path / "error" / "work").exists()


def test_an_empty_split_is_an_error_unless_it_may_be_missing(tmp_path):
    same = np.zeros(SHAPE, np.uint8)
    source = ListedSource({"train": [("a", same, 0)], "test": [("b", same, 0)]})
    with pytest.raises(WorkError, match="the split train of cats would be empty"):
        build_in(tmp_path / "needed", source, duplicates="drop")
    _, counts = build_in(tmp_path / "rest", source, duplicates="drop", needs_splits=False)
    assert counts.examples == {"test": 1}
