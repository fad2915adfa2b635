import json
import random
import re

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
        (lambda lines: [lines[0], b"[" * 100_000], 2),
        (lambda lines: [lines[0][:-1] + b" " * 5000 + b"}"], 1),
        (lambda lines: [lines[0].replace(b'"step": 10', b'"step": "10"')], 1),
        (lambda lines: [lines[0].replace(b'"step": 10', b'"step": 10.5')], 1),
        (lambda lines: [lines[0], lines[1].replace(b'"step": 20', b'"step": 10')], 2),
        (lambda lines: [lines[0].replace(b'"rate": 1.0', b'"rate": NaN')], 1),
        (lambda lines: [lines[0].replace(b'"rate": 1.0', b'"rate": 1e999')], 1),
        (lambda lines: [lines[0].replace(b'"rate": 1.0', b'"rate": 1e200')], 1),
        (lambda lines: [lines[0].replace(b'"rate": 1.0', b'"rate": null')], 1),
        (lambda lines: [lines[0].replace(b'"rate": 1.0', b'"rate": 1.0, "x": 1.0')], 1),
        (lambda lines: [lines[0].replace(b'"beta": 0.5', b'"beta": Infinity')], 1),
        (lambda lines: [lines[0].replace(b'"beta": 0.5', b'"beta": [0.5]')], 1),
        (lambda lines: [re.sub(b'"train": {.*?}', b'"train": null', lines[0])], 1),
    ],
)
def test_the_damaged_line_is_named(file, damage, line):
    intact = file.read_bytes().splitlines()
    damaged_lines = damage(intact)
    assert damaged_lines != intact[: len(damaged_lines)]
    file.write_bytes(b"\n".join([*damaged_lines, b""]))
    with pytest.raises(WorkError, match=rf"metrics\.jsonl is damaged: line {line} is") as error:
        read_metrics(file)
    assert "\n" not in str(error.value)


def test_random_damage_is_one_line_or_other_numbers(file):
    rng = random.Random(0)
    intact = file.read_bytes()
    read, messages = [], []
    for _ in range(500):
        data = bytearray(intact)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        file.write_bytes(data)
        try:
            read.append(read_metrics(file))
        except WorkError as error:
            messages.append(str(error))
    assert len(messages) > 250
    assert not any("\n" in message for message in messages)
    assert all([row.epoch for row in rows] == [1, 2, 3] for rows in read)


def test_a_device_is_not_read():
    with pytest.raises(WorkError, match="/dev/zero"):
        read_metrics(epath.Path("/dev/zero"))


def test_the_error_says_what_to_do():
    error = damaged(epath.Path("runs/metrics.jsonl"), "it is empty")
    assert str(error) == (
        "runs/metrics.jsonl is damaged: it is empty; restore the file, or train again with "
        "--overwrite"
    )
