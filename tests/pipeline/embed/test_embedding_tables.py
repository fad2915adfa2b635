import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from etils import epath
from PIL import Image

from components.base.manifest import load_artifact
from components.model import embeddings, vae
from components.model.encode import encode_and_score
from components.model.registry import MODEL_FILE
from pipeline.apply import engine
from pipeline.apply.inputs import dataset_tasks
from pipeline.embed.config import ENCODER_COLUMNS
from pipeline.embed.embedding_tables import EmbeddingTables
from pipeline.embed.reference import Reference

REFERENCE = Reference(median=-300.0, spread=20.0, center=(1.0, 2.0), axes=((0.0, 1.0), (1.0, 0.0)))


@pytest.fixture
def model(model_dir):
    return load_artifact(model_dir, stage="train")


@pytest.fixture
def task(example_set, tmp_path):
    """The only shard of the test split."""
    return dataset_tasks(example_set, epath.Path(tmp_path))[-1]


def write(task, model, **options) -> pq.ParquetFile:
    tables = EmbeddingTables.of(model, **options)
    engine.apply_to_shard(task, tables, str(model.path / MODEL_FILE), tables.model_sha256)
    return pq.ParquetFile(f"{task.output}.parquet")


def test_all_columns_are_those_of_the_model_and_the_examples(task, model, example_set):
    table = write(task, model, columns=embeddings.COLUMNS, reference=REFERENCE).read()
    examples = example_set.read("test")
    network = vae.load(model.path / MODEL_FILE)
    noise = np.random.default_rng([0, 0]).standard_normal((len(examples), 2), np.float32)
    scored = encode_and_score(network, examples.images, noise)
    assert table["id"].to_pylist() == examples.ids
    assert table["label"].to_pylist() == examples.labels.tolist()
    names = [example_set.class_names[label] for label in examples.labels]
    assert table["label_name"].to_pylist() == names
    assert set(table["split"].to_pylist()) == {"test"}
    for name, values in (("mean", scored.means), ("log_variance", scored.log_variances)):
        np.testing.assert_allclose(table[name].to_pylist(), values, atol=1e-6)
    for name, values in (("rate", scored.rate), ("distortion", scored.distortion)):
        np.testing.assert_allclose(table[name].to_numpy(), values, rtol=1e-5)
    score = (-300 - scored.elbo) / 20
    np.testing.assert_allclose(table["outlier_score"].to_numpy(), score, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(table["x"].to_numpy(), scored.means[:, 1] - 2, atol=1e-5)
    np.testing.assert_allclose(table["y"].to_numpy(), scored.means[:, 0] - 1, atol=1e-5)
    first = np.asarray(Image.open(io.BytesIO(table["image"][0].as_py())))
    np.testing.assert_array_equal(first, examples.images[0, :, :, 0])


def test_the_metadata_has_the_digests_of_the_model_and_the_shard(task, model):
    file = write(task, model, columns=ENCODER_COLUMNS)
    metadata = json.loads(file.schema_arrow.metadata[b"vae_pipeline"])
    assert metadata == {
        "model_sha256": model.output(MODEL_FILE).sha256,
        "shard_sha256": task.sha256,
    }


def test_what_is_not_known_is_null(task, model):
    table = write(task, model, columns=("id", "rate", "outlier_score", "x")).read()
    assert table["outlier_score"].null_count == table["x"].null_count == len(table)
    assert table["rate"].null_count == 0


def test_the_same_shard_gives_the_same_bytes(task, model, tmp_path):
    contents = []
    for _ in range(2):
        write(task, model, columns=embeddings.COLUMNS, reference=REFERENCE)
        contents.append((tmp_path / f"{task.stem}.parquet").read_bytes())
    assert contents[0] == contents[1]
