import hashlib
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.base.errors import ConfigError, WorkError
from components.data import table_formats
from pipeline.neighbours import tables
from pipeline.neighbours.tables import EmbeddingRows
from tests.manifests import edit_manifest
from tests.pipeline.neighbours.written_tables import ids, normal, png, write_tables


@pytest.fixture
def small_parts(monkeypatch):
    """Row groups and blocks of about ten rows."""
    monkeypatch.setattr(table_formats, "_GROUP_ROWS", 10)
    monkeypatch.setattr(tables, "_BLOCK_ROWS", 7)


@pytest.mark.usefixtures("small_parts")
def test_rows_are_numbered_through_all_files(tmp_path):
    means, labels = normal(95), np.arange(95) % 3
    images = [png(number) for number in range(95)]
    rows = EmbeddingRows.open(
        write_tables(tmp_path / "out", means, files=3, label=labels, image=images)
    )
    assert (len(rows), rows.latents, len(rows.paths)) == (95, 3, 3)
    assert pq.ParquetFile(rows.paths[0]).metadata.num_row_groups > 1
    read = np.concatenate([block for (block,) in rows.vectors("mean")])
    np.testing.assert_array_equal(read, means)
    numbers = [94, 0, 31, 32, 33, 12, 31]
    found = rows.read(numbers, "id", "label", "label_name", "image")
    assert [row["id"] for row in found] == [ids(95)[number] for number in numbers]
    assert [row["label"] for row in found] == labels[numbers].tolist()
    assert [row["label_name"] for row in found] == [
        ["bag", "coat", None][labels[number]] for number in numbers
    ]
    assert [row["image"] for row in found] == [images[number] for number in numbers]
    for number in (0, 40, 94):
        assert rows.find(ids(95)[number]) == number
    assert rows.find("nothing") is None
    assert rows.find("\udcff") is None


@pytest.mark.parametrize("name", ["evaluation", "evaluation/embeddings"])
def test_the_tables_of_an_evaluation_are_found(tmp_path, name):
    means = normal(5)
    write_tables(tmp_path / "evaluation", means, stage="evaluate", folder="embeddings/")
    rows = EmbeddingRows.open(tmp_path / name)
    assert len(rows) == 5


def test_another_format_is_refused_in_one_line(tmp_path):
    write_tables(tmp_path / "out", normal(5), format="npy")
    with pytest.raises(ConfigError, match=r"tables of the format npy, .* --format parquet"):
        EmbeddingRows.open(tmp_path / "out")


def test_a_directory_without_tables_is_refused(tmp_path, model_dir):
    with pytest.raises(ConfigError, match="none is not a finished artifact"):
        EmbeddingRows.open(tmp_path / "none")
    with pytest.raises(ConfigError, match="made by the train stage"):
        EmbeddingRows.open(model_dir)


def test_a_missing_column_is_named_with_the_command_that_writes_it(tmp_path):
    rows = EmbeddingRows.open(write_tables(tmp_path / "out", normal(5)))
    rows.require("id", "mean")
    with pytest.raises(ConfigError, match=r"has no column outlier_score; .*embed --columns"):
        rows.require("mean", "outlier_score")


def test_tables_without_rows_are_refused(tmp_path):
    write_tables(tmp_path / "out", normal(0))
    with pytest.raises(WorkError, match="have no rows"):
        EmbeddingRows.open(tmp_path / "out")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_is_an_error(tmp_path, value):
    means = normal(5)
    means[3, 1] = value
    rows = EmbeddingRows.open(write_tables(tmp_path / "out", means))
    with pytest.raises(WorkError, match="a mean that is not finite"):
        list(rows.vectors("mean"))


def test_a_changed_file_is_an_error(tmp_path):
    write_tables(tmp_path / "out", normal(50))
    (file,) = (tmp_path / "out").glob("*.parquet")
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(data)
    with pytest.raises(WorkError, match=r"\.parquet is damaged"):
        EmbeddingRows.open(tmp_path / "out")


def replace_table(directory, content: bytes) -> None:
    """Replaces the only table of an artifact by somebody else's, with a manifest that says so."""
    (file,) = directory.glob("*.parquet")
    file.write_bytes(content)

    def change(manifest):
        manifest["outputs"][file.name] = {
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }

    edit_manifest(directory, change)


def parquet(**columns: pa.Array) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


VECTORS = pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32(), 2))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PAR1 and nothing more", "is not a Parquet file that can be read"),
        (parquet(mean=pa.array([[1.0], [2.0]])), r"has a column mean of the type list<.*double"),
        (parquet(mean=VECTORS, id=pa.array([1, 2])), "has a column id of the type int64"),
        (parquet(mean=VECTORS, surprise=pa.array([1, 2])), "has a column surprise"),
    ],
)
def test_a_table_from_somebody_else_is_checked(tmp_path, content, message):
    write_tables(tmp_path / "out", normal(5))
    replace_table(tmp_path / "out", content)
    with pytest.raises(WorkError, match=message):
        EmbeddingRows.open(tmp_path / "out")


def test_a_vector_that_is_null_is_an_error(tmp_path):
    write_tables(tmp_path / "out", normal(5))
    column = pa.array([[1.0, 2.0], [3.0, None]], pa.list_(pa.float32(), 2))
    replace_table(tmp_path / "out", parquet(mean=column))
    with pytest.raises(WorkError, match="has no mean"):
        list(EmbeddingRows.open(tmp_path / "out").vectors("mean"))


def test_tables_of_different_models_are_not_searched_together(tmp_path):
    write_tables(tmp_path / "out", normal(5), files=2)
    _, second = sorted((tmp_path / "out").glob("*.parquet"))
    write_tables(tmp_path / "other", normal(5), files=2, model_sha256="1" * 64)
    second.write_bytes((tmp_path / "other" / second.name).read_bytes())
    records = json.loads((tmp_path / "other/manifest.json").read_text())["outputs"]
    edit_manifest(
        tmp_path / "out",
        lambda manifest: manifest["outputs"].update({second.name: records[second.name]}),
    )
    with pytest.raises(WorkError, match="different columns or models"):
        EmbeddingRows.open(tmp_path / "out")
