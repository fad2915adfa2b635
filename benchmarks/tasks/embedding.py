"""Embedding images: our engine and its peers, with the same trained encoder."""

import time
from pathlib import Path
from typing import Any

from benchmarks.tasks.reading import shards
from benchmarks.tasks.reports import BATCH, Report, passes
from components.model.registry import MODEL_FILE


def train_model(examples: str, preset: str, output: str) -> Report:
    """A model to embed with, trained for one epoch."""
    from trainer import stage
    from trainer.config import load_config

    config = load_config(preset, overrides={"epochs": 1})
    start = time.perf_counter()
    stage.run(preset, config, examples=examples, output=output)
    return {"images": 0, "seconds": time.perf_counter() - start}


def embed_ours(examples: str, model: str, columns: list[str], output: str) -> Report:
    """From shards to Parquet files, as one worker of the embed stage does it."""
    from etils import epath

    from components.base.manifest import load_artifact
    from components.data.prepared_dataset import PreparedDataset
    from pipeline.apply import engine
    from pipeline.apply.inputs import dataset_tasks
    from pipeline.embed.embedding_tables import EmbeddingTables
    from pipeline.embed.reference import Reference

    trained = load_artifact(model, stage="train")
    tables = EmbeddingTables.of(
        trained, columns=tuple(columns), reference=Reference(median=0.0, spread=1.0)
    )
    directory = epath.Path(output)
    directory.mkdir()
    tasks = dataset_tasks(PreparedDataset.open(examples), directory)
    arguments = (str(trained.path / MODEL_FILE), tables.model_sha256)

    def embed() -> int:
        return sum(engine.apply_to_shard(task, tables, *arguments)["rows"] for task in tasks)

    return passes(embed)


def keras_predict(examples: str, model: str) -> Report:
    """`predict` of the encoder, with float32 images in memory; nothing is read or written."""
    from components.data.prepared_dataset import PreparedDataset
    from components.model import vae
    from components.model.pixels import to_unit

    dataset = PreparedDataset.open(examples)
    images = to_unit(dataset.images("train"))
    encoder = vae.load(Path(model) / MODEL_FILE).encoder

    def predict() -> int:
        return len(encoder.predict(images, batch_size=BATCH, verbose=0))

    return passes(predict)


def run_inference(examples: str, model: str, output: str) -> Report:
    """Beam's RunInference with a custom model handler, as its documentation describes.

    From shards to Parquet files, with one element per image.
    """
    import apache_beam as beam
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    import tensorflow as tf
    from apache_beam.ml.inference.base import ModelHandler, PredictionResult, RunInference
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    from benchmarks.tasks.input_files import SHAPE
    from components.model import vae

    class Handler(ModelHandler):
        """Computes batches of images with the encoder."""

        def load_model(self):
            return vae.load(Path(model) / MODEL_FILE).encoder

        def run_inference(self, batch, model, inference_args=None):
            images = np.stack([image for _, image in batch])
            parameters = model(images).numpy()
            return [
                PredictionResult(key, row) for (key, _), row in zip(batch, parameters, strict=True)
            ]

        def batch_elements_kwargs(self):
            return {"min_batch_size": BATCH, "max_batch_size": BATCH}

    def parse(record: bytes):
        feature = tf.train.Example.FromString(record).features.feature
        pixels = np.frombuffer(feature["image"].bytes_list.value[0], np.uint8)
        return feature["id"].bytes_list.value[0], pixels.reshape(SHAPE).astype(np.float32) / 255

    def row(result: Any) -> dict[str, Any]:
        mean, log_variance = np.split(result.inference, 2)
        return {"id": result.example.decode(), "mean": mean, "log_variance": log_variance}

    vectors = pa.list_(pa.float32())
    schema = pa.schema([("id", pa.string()), ("mean", vectors), ("log_variance", vectors)])
    pipeline = beam.Pipeline(FnApiRunner(), options=PipelineOptions([]))
    rows = (
        pipeline
        | beam.Create(shards(examples))
        | beam.io.ReadAllFromTFRecord()
        | "parse" >> beam.Map(parse)
        | RunInference(Handler())
        | "row" >> beam.Map(row)
    )
    _ = rows | beam.io.WriteToParquet(f"{output}/embeddings", schema)
    start = time.perf_counter()
    pipeline.run().wait_until_finish()
    seconds = time.perf_counter() - start
    return {"images": pq.read_table(output).num_rows, "seconds": seconds}
