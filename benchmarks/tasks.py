"""What `benchmarks.prepare` measures: one task a process, named with its arguments, JSON.

A task prints a report as its last line: `images`, and the `seconds` that they took, imports apart.
"""

import importlib
import json
import os
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FASHION = "fashion_mnist"
_SPLITS = {"train": "train", "test": "t10k"}
_BATCH = 1000

Report = dict[str, float]


def main(name: str, arguments: str) -> None:
    # Libraries would fill standard error, whose last line is to say why a task failed.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    report = TASKS[name](**json.loads(arguments))
    print(f"\n{json.dumps(report)}", flush=True)


# --- what the others read -------------------------------------------------------------------------


def write_idx(output: str, images: int, data_dir: str) -> Report:
    """Writes IDX files: Fashion-MNIST's first images where it is in `data_dir`, else garments."""
    start = time.perf_counter()
    Path(output).mkdir()
    counts = {"train": images * 6 // 7, "test": images - images * 6 // 7}
    for split, count in counts.items():
        pixels, labels = _fashion(split, count, data_dir) if data_dir else _garments(split, count)
        for path, magic, array in zip(_idx(output, split), (3, 1), (pixels, labels), strict=True):
            shape = array.shape[:magic]
            header = struct.pack(f">BBBB{magic}I", 0, 0, 8, magic, *shape)
            path.write_bytes(header + array.astype(np.uint8).tobytes())
    return {"images": images, "seconds": time.perf_counter() - start}


def _fashion(split: str, count: int, data_dir: str) -> tuple[np.ndarray, np.ndarray]:
    import tensorflow_datasets as tfds

    loaded = tfds.load(
        FASHION, split=f"{split}[:{count}]", data_dir=data_dir, download=False, batch_size=-1
    )
    examples = tfds.as_numpy(loaded)
    return examples["image"], examples["label"]


def _garments(split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    from components.sources import garments

    rng = np.random.default_rng(sorted(_SPLITS).index(split))
    labels = np.arange(count) % len(garments.CLASS_NAMES)
    parts = [labels[first : first + _BATCH] for first in range(0, count, _BATCH)]
    return np.concatenate([garments.draw_garments(part, rng) for part in parts]), labels


def _idx(directory: str, split: str) -> tuple[Path, Path]:
    stem = Path(directory) / _SPLITS[split]
    return Path(f"{stem}-images-idx3-ubyte"), Path(f"{stem}-labels-idx1-ubyte")


def _read_idx(directory: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    images, labels = _idx(directory, split)
    pixels = np.fromfile(images, np.uint8, offset=16).reshape(-1, 28, 28, 1)
    return pixels, np.fromfile(labels, np.uint8, offset=8)


def write_pngs(idx: str, output: str) -> Report:
    """Writes the images of IDX files as PNG files, a folder to a class."""
    from PIL import Image

    for label in range(10):
        (Path(output) / f"class{label}").mkdir(parents=True)
    images = 0
    start = time.perf_counter()
    for split in _SPLITS:
        for pixels, label in zip(*_read_idx(idx, split), strict=True):
            Image.fromarray(pixels[..., 0]).save(f"{output}/class{label}/{images:06d}.png")
            images += 1
    return {"images": images, "seconds": time.perf_counter() - start}


# --- writing --------------------------------------------------------------------------------------


def prepare(arguments: list[str], output: str) -> Report:
    """Ours, as its command runs it: the seconds of both Beam pipelines and the plan between."""
    from components.data.prepared_dataset import PreparedDataset
    from pipeline import __main__ as command
    from pipeline.prepare import stage

    fn_api_runner = "apache_beam.runners.portability.fn_api_runner"
    clock: list[float] = []
    do = stage._do

    def clocked(*args: Any, **kwargs: Any) -> Any:
        # It would import these now; the workers begin meanwhile, as they do without a clock.
        for module in (fn_api_runner, "pipeline.beam.launch", "pipeline.beam.transforms"):
            importlib.import_module(module)
        clock.append(time.perf_counter())
        counters = do(*args, **kwargs)
        clock.append(time.perf_counter())
        return counters

    stage._do = clocked
    sys.argv[1:] = ["prepare", *arguments, "--output", output]
    command.main()
    counts = PreparedDataset.open(output).artifact.manifest["counts"]
    return {"images": counts["kept"], "seconds": clock[-1] - clock[0]}


def tfds_writer(idx: str, output: str) -> Report:
    """A TFDS dataset as its users write one, its images in memory: `download_and_prepare` alone."""
    import tensorflow  # noqa: F401 - TFDS would import it while the clock runs
    import tensorflow_datasets as tfds

    examples = {split: _read_idx(idx, split) for split in _SPLITS}

    class Pictures(tfds.core.GeneratorBasedBuilder):
        """Images and labels."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(28, 28, 1)),
                "label": tfds.features.ClassLabel(num_classes=10),
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(split) for split in examples}

        def _generate_examples(self, split):
            for key, (image, label) in enumerate(zip(*examples[split], strict=True)):
                yield key, {"image": image, "label": label}

    tfds.disable_progress_bar()
    builder = Pictures(data_dir=output)
    start = time.perf_counter()
    builder.download_and_prepare()
    seconds = time.perf_counter() - start
    written = sum(split.num_examples for split in builder.info.splits.values())
    return {"images": written, "seconds": seconds}


def beam_writer(idx: str, output: str) -> Report:
    """Beam with an element per image and its own TFRecord writer: the pipeline's run alone."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    from tensorflow_datasets.proto import tf_example_pb2

    def serialized(item: tuple[bytes, bytes, int]) -> bytes:
        example_id, image, label = item
        example = tf_example_pb2.Example()
        feature = example.features.feature
        feature["id"].bytes_list.value.append(example_id)
        feature["image"].bytes_list.value.append(image)
        feature["label"].int64_list.value.append(label)
        return example.SerializeToString()

    pipeline = beam.Pipeline(FnApiRunner(), options=PipelineOptions([]))
    images = 0
    for split in _SPLITS:
        items = [
            (f"{split}-{number:08d}".encode(), image.tobytes(), int(label))
            for number, (image, label) in enumerate(zip(*_read_idx(idx, split), strict=True))
        ]
        images += len(items)
        _ = (
            pipeline
            | f"create {split}" >> beam.Create(items)
            | f"serialize {split}" >> beam.Map(serialized)
            | f"write {split}"
            >> beam.io.WriteToTFRecord(f"{output}/pictures-{split}.tfrecord", num_shards=1)
        )
    start = time.perf_counter()
    pipeline.run().wait_until_finish()
    return {"images": images, "seconds": time.perf_counter() - start}


# --- reading --------------------------------------------------------------------------------------


def pillow_loop(directory: str) -> Report:
    """A folder's images, one after the other, as a Dataset class reads them."""
    from PIL import Image

    paths = sorted(map(str, Path(directory).glob("*/*.png")))
    start = time.perf_counter()
    for path in paths:
        with Image.open(path) as image:
            np.asarray(image)
    return {"images": len(paths), "seconds": time.perf_counter() - start}


def tf_data_folder(directory: str) -> Report:
    """A folder's images, by tf.data on all cores."""
    import tensorflow as tf

    paths = tf.data.Dataset.list_files(f"{directory}/*/*.png", shuffle=False)
    images = paths.map(
        lambda path: tf.io.decode_png(tf.io.read_file(path), channels=1),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    start = time.perf_counter()
    count = sum(len(batch) for batch in images.batch(_BATCH).as_numpy_iterator())
    return {"images": count, "seconds": time.perf_counter() - start}


def read_ours(directory: str) -> Report:
    """Our shards, read by ourselves."""
    from tensorflow_datasets.proto import tf_example_pb2  # noqa: F401 - reading would import it

    from components.data.prepared_dataset import PreparedDataset

    example_set = PreparedDataset.open(directory)
    return _passes(lambda: sum(len(block.images) for block in example_set.blocks("train")))


def read_tf_data(directory: str) -> Report:
    """Our shards, read by tf.data, an example at a time."""
    import tensorflow as tf

    features = {"image": tf.io.FixedLenFeature([], tf.string)}

    def parsed(record):
        image = tf.io.parse_single_example(record, features)["image"]
        return tf.reshape(tf.io.decode_raw(image, tf.uint8), [28, 28, 1])

    shards = sorted(map(str, Path(directory).glob("*-train.tfrecord-*")))
    images = tf.data.TFRecordDataset(shards).map(parsed, num_parallel_calls=tf.data.AUTOTUNE)
    batches = images.batch(_BATCH).prefetch(tf.data.AUTOTUNE)
    return _passes(lambda: sum(len(batch) for batch in batches.as_numpy_iterator()))


def read_tfds(data_dir: str, images: int) -> Report:
    """TFDS's PNG records, read by TFDS."""
    import tensorflow_datasets as tfds

    batches = tfds.load(
        FASHION,
        split=f"train[:{images}]",
        data_dir=data_dir,
        download=False,
        # Every pass is to read the files.
        read_config=tfds.ReadConfig(try_autocache=False),
    ).batch(_BATCH)
    return _passes(lambda: sum(len(batch["image"]) for batch in tfds.as_numpy(batches)))


def _passes(read: Callable[[], int]) -> Report:
    """The first pass, and the best of three more."""
    seconds = []
    images = 0
    for _ in range(4):
        start = time.perf_counter()
        images = read()
        seconds.append(time.perf_counter() - start)
    return {"images": images, "seconds": min(seconds[1:]), "first_seconds": seconds[0]}


TASKS: dict[str, Callable[..., Report]] = {
    task.__name__: task
    for task in (
        write_idx, write_pngs, prepare, tfds_writer, beam_writer, pillow_loop, tf_data_folder,
        read_ours, read_tf_data, read_tfds,
    )
}  # fmt: skip
