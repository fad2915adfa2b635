import json

import pytest
from etils import epath

from components.base.errors import WorkError
from trainer import precision_record
from trainer.precision_record import PRECISION_FILE, PrecisionRecord


@pytest.mark.parametrize(
    "record",
    [PrecisionRecord("float16"), PrecisionRecord("bfloat16", {"float32": 2.5, "bfloat16": 1.0})],
)
def test_a_record_is_read_as_it_was_written(record, tmp_path):
    directory = epath.Path(tmp_path)
    assert precision_record.read(directory) is None
    precision_record.write(directory, record)
    assert precision_record.read(directory) == record
    assert [path.name for path in tmp_path.iterdir()] == [PRECISION_FILE]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "it is not JSON"),
        ('{"precision": 32}', "precision is 32, not text"),
        ('{"measured": null}', "precision is missing"),
        ('{"precision": "auto"}', "precision is not one of float32, bfloat16, float16"),
        (json.dumps({"precision": "x" * 5000}), "it is larger than 4,096 bytes"),
    ],
)
def test_a_damaged_record_is_an_error_of_one_line(content, reason, tmp_path):
    (tmp_path / PRECISION_FILE).write_text(content)
    with pytest.raises(WorkError, match=f"precision.json is damaged: {reason}") as error:
        precision_record.read(epath.Path(tmp_path))
    assert "--overwrite" in str(error.value)
    assert "\n" not in str(error.value)
