"""The Beam transforms: the work of the prepare stage, and embedding shards.

Elements are tasks of thousands of images, not images: Beam's cost per element would otherwise
exceed the work. What a task makes goes to files; what it counts, to Beam's counters.
"""

import concurrent.futures
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from etils import epath

from components.base import tensorflow_setup
from components.base.errors import WorkError
from components.data import codec
from components.data.examples import ExampleBatch
from components.model import embeddings
from pipeline.beam import worker_pool

COUNTERS = "prepare"


class RunTask(beam.DoFn):
    """Calls `function(task, *arguments)` here, or in a process beside, and adds up what it counts.

    Args:
      function: of `pipeline.work`, so that a process beside needs no Beam; it returns counts.
    """

    def __init__(self, function: Callable[..., Mapping[str, int]], *arguments: Any):
        self._function = function
        self._arguments = arguments

    def start_bundle(self) -> None:
        self._running: list[concurrent.futures.Future[Mapping[str, int]]] = []

    def process(self, task) -> None:
        if (pool := worker_pool.pool()) is not None:
            with worker_pool.explained():
                self._running.append(pool.submit(self._function, task, *self._arguments))
        else:
            _count(self._function(task, *self._arguments))

    def finish_bundle(self) -> None:
        with worker_pool.explained():
            for future in concurrent.futures.as_completed(self._running):
                _count(future.result())


def _count(counts: Mapping[str, int]) -> None:
    for name, count in counts.items():
        Metrics.counter(COUNTERS, name).inc(count)


class EmbedShards(beam.PTransform):
    """(TFRecord file, Parquet file) -> number of examples. Each worker loads the model once.

    Args:
      model: directory of the train stage's artifact.
    """

    def __init__(self, model: epath.PathLike):
        super().__init__()
        self._model = epath.Path(model)

    def expand(self, tasks):
        return tasks | beam.Reshuffle() | beam.ParDo(_EmbedShard(self._model))


class _EmbedShard(beam.DoFn):
    def __init__(self, model: epath.Path):
        self._path = model / "model.keras"

    def setup(self) -> None:
        tensorflow_setup.load()
        from components.model import vae

        self._vae = vae.load(self._path)

    def process(self, task: tuple[str, str]) -> Iterator[int]:
        from components.model.encode import encode

        source, target = task
        blocks = list(codec.read_batches(source, self._vae.image_shape))
        if not blocks:
            raise WorkError(f"{source} holds no examples; leave it out of --input")
        block = ExampleBatch.concatenate(blocks)
        means, log_variances = encode(self._vae, block.images)
        rows = embeddings.Embeddings(block.ids, block.labels, means, log_variances)
        embeddings.write(rows, target)
        yield len(block)
