import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from etils import epath

from components.base import files
from components.data import tf_example, tfrecord
from components.data.table_formats import FORMATS, Table

ROWS = 150_000  # More than one row group.
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("label", pa.int64()),
        ("label_name", pa.string()),
        ("mean", pa.list_(pa.float32(), 2)),
        ("rate", pa.float32()),
        ("image", pa.binary()),
    ]
)


def rows(count: int) -> pa.RecordBatch:
    """Rows with texts that are not ASCII, and some values that are null."""
    means = pa.array(np.arange(2 * count, dtype=np.float32))
    return pa.record_batch(
        [
            pa.array([f"é\n{number}" for number in range(count)]),
            pa.array(range(count), pa.int64()),
            pa.array(["shirt", None] * (count // 2)),
            pa.FixedSizeListArray.from_arrays(means, 2),
            pa.array([None, 0.5] * (count // 2), pa.float32()),
            pa.array([b"\x89", b""] * (count // 2)),
        ],
        schema=SCHEMA,
    )


def table(batch: pa.RecordBatch, *, part: int = 1000) -> Table:
    parts = [batch.slice(first, part) for first in range(0, len(batch), part)]
    return Table(batch.schema, len(batch), parts)


def without_image(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.select([name for name in batch.schema.names if name != "image"])


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("count", [10, 3000])
def test_the_report_is_of_the_files_and_the_ids_are_read_back(name, count, tmp_path):
    batch = without_image(rows(count))
    written = FORMATS[name].write(table(batch), epath.Path(tmp_path), "x")
    assert {path.name for path in tmp_path.iterdir()} == set(written)
    for file, record in written.items():
        assert (tmp_path / file).stat().st_size == record.bytes
        assert files.sha256(epath.Path(tmp_path) / file) == record.sha256
    parts = FORMATS[name].read_ids(epath.Path(tmp_path), "x")
    assert [each for part in parts for each in part] == batch["id"].to_pylist()


@pytest.mark.parametrize("name", FORMATS)
def test_a_failure_leaves_no_file(name, tmp_path):
    def fail() -> Iterator[pa.RecordBatch]:
        yield without_image(rows(10))
        raise OSError("damaged")

    batch = without_image(rows(10))
    with pytest.raises(OSError, match="damaged"):
        FORMATS[name].write(Table(batch.schema, 20, fail()), epath.Path(tmp_path), "x")
    assert list(tmp_path.iterdir()) == []


def test_parquet_holds_the_table_in_row_groups(tmp_path):
    batch = rows(ROWS)
    FORMATS["parquet"].write(table(batch), epath.Path(tmp_path), "x")
    file = pq.ParquetFile(tmp_path / "x.parquet")
    assert file.read().equals(pa.Table.from_batches([batch]))
    groups = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    assert groups == [66_000, 66_000, 18_000]


def test_a_parquet_file_without_rows_has_the_columns(tmp_path):
    FORMATS["parquet"].write(Table(SCHEMA, 0, []), epath.Path(tmp_path), "x")
    assert pq.read_table(tmp_path / "x.parquet").schema.equals(SCHEMA)


def test_numpy_files_hold_numbers_and_lines_hold_texts(tmp_path):
    batch = without_image(rows(3000))
    FORMATS["npy"].write(table(batch), epath.Path(tmp_path), "x")
    labels, means, rates = (np.load(tmp_path / f"x.{n}.npy") for n in ("label", "mean", "rate"))
    np.testing.assert_array_equal(labels, np.arange(3000))
    np.testing.assert_array_equal(means, np.arange(6000, dtype=np.float32).reshape(3000, 2))
    np.testing.assert_array_equal(rates, np.array([np.nan, 0.5] * 1500, np.float32))
    assert means.dtype == rates.dtype == np.float32
    lines = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert lines[:2] == [{"id": "é\n0", "label_name": "shirt"}, {"id": "é\n1", "label_name": None}]


def test_tfrecord_files_hold_one_example_per_row(tmp_path):
    FORMATS["tfrecord"].write(table(rows(10)), epath.Path(tmp_path), "x")
    first, second, *_ = map(tf_example.features, tfrecord.read_records(tmp_path / "x.tfrecord"))
    assert first["id"].bytes_list.value == ["é\n0".encode()]
    assert first["rate"].WhichOneof("kind") is None
    assert second["rate"].float_list.value == [0.5]
    assert second["mean"].float_list.value == [2.0, 3.0]
    assert first["image"].bytes_list.value == [b"\x89"]
    assert second["label"].int64_list.value == [1]
