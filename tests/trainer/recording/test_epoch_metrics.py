import json

import pytest
from etils import epath

from components.base.errors import WorkError
from trainer.recording.epoch_metrics import EpochMetrics, damaged, read_metrics, write_metrics

LOSSES = {"loss": 3.0, "rate": 1.0, "distortion": 2.0}
# Held-out metrics every second epoch, and learning rates with many digits.
ROWS = [
    EpochMetrics(n, 10 * n, LOSSES, LOSSES if n % 2 else None, learning_rate=1e-3 / n, beta=0.5)
    for n in (1, 2, 3)
]


@pytest.fixture
def file(tmp_path) -> epath.Path:
    """A `metrics.jsonl` with the rows above."""
    path = epath.Path(tmp_path) / "metrics.jsonl"
    write_metrics(path, ROWS)
    return path


def test_metrics_are_read_back_as_they_were_written(file):
    assert read_metrics(file) == ROWS


def test_a_line_has_the_fields_of_an_epoch(file):
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    names = {"epoch", "step", "train", "heldout", "learning_rate", "beta"}
    assert all(line.keys() == names for line in lines)


def test_writing_replaces_the_rows(file):
    write_metrics(file, ROWS[:1])
    assert read_metrics(file) == ROWS[:1]
    write_metrics(file, [])
    assert read_metrics(file) == []


def test_a_missing_file_has_no_rows(tmp_path):
    assert read_metrics(epath.Path(tmp_path) / "metrics.jsonl") == []


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda lines: [lines[0], lines[1][:30]], 2),
        (lambda lines: [b"\xff" + lines[0], *lines[1:]], 1),
        (lambda lines: [lines[0], lines[2]], 2),
        (lambda lines: [lines[0], b"[1, 2]", lines[2]], 2),
        (lambda lines: [lines[0].replace(b"step", b"stop")], 1),
        (lambda lines: [*lines, b""], 4),
    ],
    ids=["truncated", "not text", "row missing", "not an object", "other field", "empty line"],
)
def test_the_damaged_line_is_named(file, damage, line):
    file.write_bytes(b"\n".join([*damage(file.read_bytes().splitlines()), b""]))
    with pytest.raises(WorkError, match=rf"metrics\.jsonl is damaged: line {line} is") as error:
        read_metrics(file)
    assert "\n" not in str(error.value)


def test_the_error_says_what_to_do():
    error = damaged(epath.Path("runs/metrics.jsonl"), "it is empty")
    assert str(error) == (
        "runs/metrics.jsonl is damaged: it is empty; restore the file, or train again with "
        "--overwrite"
    )
