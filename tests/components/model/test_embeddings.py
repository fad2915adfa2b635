import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.model import embeddings


def make(count: int = 4) -> embeddings.Embeddings:
    rng = np.random.default_rng(0)
    return embeddings.Embeddings(
        ids=[f"test-{i}" for i in range(count)],
        labels=np.arange(count),
        means=rng.normal(size=(count, 3)).astype(np.float32),
        log_variances=rng.normal(size=(count, 3)).astype(np.float32),
    )


def test_what_was_written_is_read_back(tmp_path):
    embeddings.write(make(), tmp_path / "file.parquet")
    read = embeddings.read(tmp_path / "file.parquet")
    assert read.ids == make().ids
    for name in ("labels", "means", "log_variances"):
        np.testing.assert_array_equal(getattr(read, name), getattr(make(), name))


def test_a_file_without_rows_is_read_back(tmp_path):
    embeddings.write(make(0), tmp_path / "file.parquet")
    assert embeddings.read(tmp_path / "file.parquet").means.shape == (0, 3)


def test_names_and_types_of_the_columns(tmp_path):
    embeddings.write(make(), tmp_path / "file.parquet")
    schema = pq.read_schema(tmp_path / "file.parquet")
    assert schema.names == ["id", "label", "mean", "log_variance", "label_name", "split"]
    assert schema.field("mean").type == pa.list_(pa.float32(), 3)


def test_the_same_rows_give_the_same_bytes(tmp_path):
    for name in "ab":
        embeddings.write(make(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_names_of_labels_and_split_are_written_if_they_are_known(tmp_path):
    embeddings.write(make(), tmp_path / "known", split="test", class_names=("a", "b\udcff", "2"))
    table = pq.read_table(tmp_path / "known")
    assert table["label_name"].to_pylist() == ["a", "b?", "2", None]
    assert table["split"].to_pylist() == ["test"] * 4
    embeddings.write(make(), tmp_path / "unknown")
    table = pq.read_table(tmp_path / "unknown")
    assert table["label_name"].to_pylist() == table["split"].to_pylist() == [None] * 4
