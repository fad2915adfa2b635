"""Reading images: folders of PNG files, TFRecord shards, and TFDS's datasets."""

import time
from pathlib import Path

import numpy as np

from benchmarks.tasks.input_files import FASHION, SHAPE
from benchmarks.tasks.reports import BATCH, Report, passes


def pillow_loop(directory: str) -> Report:
    """A folder of PNG files decoded one by one, as a typical Dataset class does it."""
    from PIL import Image

    paths = sorted(map(str, Path(directory).glob("*/*.png")))
    start = time.perf_counter()
    for path in paths:
        with Image.open(path) as image:
            np.asarray(image)
    return {"images": len(paths), "seconds": time.perf_counter() - start}


def tf_data_folder(directory: str) -> Report:
    """A folder of PNG files decoded by tf.data on all cores."""
    import tensorflow as tf

    paths = tf.data.Dataset.list_files(f"{directory}/*/*.png", shuffle=False)
    images = paths.map(
        lambda path: tf.io.decode_png(tf.io.read_file(path), channels=1),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    start = time.perf_counter()
    count = sum(len(batch) for batch in images.batch(BATCH).as_numpy_iterator())
    return {"images": count, "seconds": time.perf_counter() - start}


def read_ours(directory: str) -> Report:
    """Our shards, read by our reader: ids, images and labels."""
    from tensorflow_datasets.proto import tf_example_pb2  # noqa: F401 - the reader would import it

    from components.data.prepared_dataset import PreparedDataset

    dataset = PreparedDataset.open(directory)
    return passes(lambda: sum(map(len, dataset.batches("train"))))


def read_tf_data(directory: str) -> Report:
    """Our shards, read by tf.data with one `parse_single_example` per image; images only."""
    import tensorflow as tf

    features = {"image": tf.io.FixedLenFeature([], tf.string)}

    def parse(record):
        image = tf.io.parse_single_example(record, features)["image"]
        return tf.reshape(tf.io.decode_raw(image, tf.uint8), SHAPE)

    records = tf.data.TFRecordDataset(shards(directory))
    images = records.map(parse, num_parallel_calls=tf.data.AUTOTUNE)
    batches = images.batch(BATCH).prefetch(tf.data.AUTOTUNE)
    return passes(lambda: sum(len(batch) for batch in batches.as_numpy_iterator()))


def read_tf_data_batches(directory: str, batch_size: int = BATCH) -> Report:
    """Our shards, read by tf.data with one `parse_example` per batch: ids, images and labels."""
    import tensorflow as tf

    features = {
        "id": tf.io.FixedLenFeature([], tf.string),
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }

    def parse(records):
        examples = tf.io.parse_example(records, features)
        images = tf.reshape(tf.io.decode_raw(examples["image"], tf.uint8), [-1, *SHAPE])
        return examples["id"], images, examples["label"]

    records = tf.data.TFRecordDataset(shards(directory)).batch(batch_size)
    batches = records.map(parse, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    return passes(lambda: sum(len(labels) for *_, labels in batches.as_numpy_iterator()))


def read_tfds(data_dir: str, images: int) -> Report:
    """TFDS's PNG records, read by TFDS."""
    import tensorflow_datasets as tfds

    batches = tfds.load(
        FASHION,
        split=f"train[:{images}]",
        data_dir=data_dir,
        download=False,
        # Without a cache, so that every pass reads the files.
        read_config=tfds.ReadConfig(try_autocache=False),
    ).batch(BATCH)
    return passes(lambda: sum(len(batch["image"]) for batch in tfds.as_numpy(batches)))


def shards(directory: str) -> list[str]:
    """The training shards in a directory, in order."""
    return sorted(map(str, Path(directory).glob("*-train.tfrecord-*")))
