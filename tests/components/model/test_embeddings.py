import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.model import embeddings

COUNT, LATENTS = 4, 3
MEANS = np.arange(COUNT * LATENTS, dtype=np.float32).reshape(COUNT, LATENTS)


def rows(columns=embeddings.COLUMNS, *, split="test", class_names=("a", "b\udcff", "2")):
    values = {
        "id": [f"test-{number}" for number in range(COUNT)],
        "label": np.array([0, 1, 3, -1]),
        "mean": MEANS,
        "log_variance": -MEANS,
        "rate": MEANS[:, 0],
        "distortion": None,
        "image": [b"png"] * COUNT,
    }
    schema = embeddings.schema(columns, LATENTS, {"model": "0"})
    return embeddings.record_batch(
        schema, values, count=COUNT, split=split, class_names=class_names
    )


def test_rows_have_the_columns_and_their_types():
    batch = rows()
    assert batch.schema.names == list(embeddings.COLUMNS)
    assert batch.schema.field("mean").type == pa.list_(pa.float32(), LATENTS)
    assert batch["mean"].to_pylist() == MEANS.tolist()
    assert batch["rate"].to_pylist() == [0.0, 3.0, 6.0, 9.0]
    assert json.loads(batch.schema.metadata[b"vae_pipeline"]) == {"model": "0"}


def test_values_that_are_not_known_are_null():
    batch = rows(split=None, class_names=())
    for name in ("split", "label_name", "distortion", "outlier_score", "x"):
        assert batch[name].null_count == COUNT


def test_the_names_of_labels_and_split_are_written_if_they_are_known():
    batch = rows()
    assert batch["label_name"].to_pylist() == ["a", "b?", None, None]
    assert batch["split"].to_pylist() == ["test"] * COUNT


def test_a_table_may_have_some_of_the_columns():
    assert rows(("id", "label_name")).schema.names == ["id", "label_name"]


def test_what_was_written_is_read_back(tmp_path):
    pq.write_table(pa.Table.from_batches([rows()]), tmp_path / "file.parquet")
    read = embeddings.read(tmp_path / "file.parquet")
    assert read.ids == [f"test-{number}" for number in range(COUNT)]
    np.testing.assert_array_equal(read.labels, [0, 1, 3, -1])
    np.testing.assert_array_equal(read.means, MEANS)
    np.testing.assert_array_equal(read.log_variances, -MEANS)
