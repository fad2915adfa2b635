"""Our own parts and the libraries that could replace them, on the same inputs in memory or on disk.

Inputs are loaded before the clock starts. A task raises where a part or a library does not handle
every input, since its speed would not count.
"""

import importlib
import io
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.tasks.input_files import SHAPE
from benchmarks.tasks.reading import shards
from benchmarks.tasks.reports import BATCH, Report, passes
from components.data import codec, tf_example, tfrecord
from components.data.examples import ExampleBatch

# Bytes of an image's rows in a PNG, each after the byte of its filter.
_FILTERED_BYTES = SHAPE[0] * (1 + SHAPE[1] * SHAPE[2])

# --- inflating ------------------------------------------------------------------------------------


def inflate(records: str, images: int, module: str) -> Report:
    """Inflates the IDAT chunks of PNGs, one call per image.

    Args:
      records: directory of TFRecords with PNGs, as TFDS writes them.
      images: number of images to read from it.
      module: a module with `zlib`'s interface.
    """
    decompress = importlib.import_module(module).decompress
    streams = [_idat(png) for png in _load_pngs(records, images)]

    def inflate_all() -> int:
        count = 0
        for stream in streams:
            count += len(decompress(stream, bufsize=_FILTERED_BYTES)) == _FILTERED_BYTES
        return count

    return _complete(passes(inflate_all), images)


def _idat(png: bytes) -> bytes:
    """The contents of a PNG's IDAT chunks, joined."""
    contents = []
    place = 8  # after the signature
    while place < len(png):
        length = int.from_bytes(png[place : place + 4], "big")
        if png[place + 4 : place + 8] == b"IDAT":
            contents.append(png[place + 8 : place + 8 + length])
        place += 12 + length  # length, type and CRC take 4 bytes each
    return b"".join(contents)


# --- decoding -------------------------------------------------------------------------------------


def decode_pngs_ours(records: str, images: int) -> Report:
    """Our PNG decoder, with its integrity checks, a batch per call."""
    from components.ingest import png
    from components.sources.source import BATCH_BYTES

    batches = _batches(_load_pngs(records, images))

    def decode() -> int:
        return sum(
            len(pixels) for batch in batches for _, pixels in png.decode_all(batch, BATCH_BYTES)
        )

    return _complete(passes(decode), images)


def decode_pngs(records: str, images: int, library: str) -> Report:
    """A library's PNG decoder, one call per image, into the array of a batch.

    Args:
      records: directory of TFRecords with PNGs, as TFDS writes them.
      images: number of images to read from it.
      library: a key of `_DECODERS`.
    """
    decode_one = _DECODERS[library]()
    batches = _batches(_load_pngs(records, images))

    def decode() -> int:
        count = 0
        for batch in batches:
            pixels = np.empty((len(batch), *SHAPE), np.uint8)
            for row, png in enumerate(batch):
                pixels[row, ..., 0] = decode_one(png)
            count += len(pixels)
        return count

    return _complete(passes(decode), images)


def _pyspng_decoder() -> Callable[[bytes], np.ndarray]:
    import pyspng

    return pyspng.load


def _opencv_decoder() -> Callable[[bytes], np.ndarray]:
    import cv2

    cv2.setNumThreads(1)
    return lambda png: cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)


def _pillow_decoder() -> Callable[[bytes], np.ndarray]:
    from PIL import Image

    return lambda png: np.asarray(Image.open(io.BytesIO(png)))


_DECODERS = {"pyspng": _pyspng_decoder, "opencv": _opencv_decoder, "pillow": _pillow_decoder}


# --- extracting -----------------------------------------------------------------------------------


def extract_ours(records: str, images: int) -> Report:
    """Image and label of TFDS's records, by the templates of our extractor."""
    from components.ingest.example_template import FeatureExtractor

    return _extract(records, images, FeatureExtractor("image", "label"))


def extract_protobuf(records: str, images: int) -> Report:
    """Image and label of TFDS's records, by protobuf."""
    from tensorflow_datasets.proto import tf_example_pb2

    parse = tf_example_pb2.Example.FromString

    def extract(record: bytes) -> tuple[bytes, int]:
        feature = parse(record).features.feature
        return feature["image"].bytes_list.value[0], feature["label"].int64_list.value[0]

    return _extract(records, images, extract)


def _extract(records: str, images: int, extract: Callable[[bytes], Any]) -> Report:
    payloads = _load_payloads(records, images)

    def extract_all() -> int:
        count = 0
        for payload in payloads:
            image, label = extract(payload)
            count += bool(image) and label is not None
        return count

    return _complete(passes(extract_all), images)


# --- reading and encoding our shards --------------------------------------------------------------


def read_shards_ours(directory: str) -> Report:
    """Our shards by our codec: ids, images and labels."""
    _load_protobuf()
    paths = shards(directory)
    return passes(
        lambda: sum(len(batch) for path in paths for batch in codec.read_batches(path, SHAPE))
    )


def read_shards_protobuf(directory: str) -> Report:
    """Our shards by our TFRecord reader and protobuf: ids, images and labels, in batches."""
    from tensorflow_datasets.proto import tf_example_pb2

    parse = tf_example_pb2.Example.FromString
    paths = shards(directory)

    def read_batch(payloads: list[bytes]) -> int:
        ids, pixels, labels = [], [], []
        for payload in payloads:
            feature = parse(payload).features.feature
            ids.append(feature["id"].bytes_list.value[0].decode())
            pixels.append(feature["image"].bytes_list.value[0])
            labels.append(feature["label"].int64_list.value[0])
        images = np.frombuffer(b"".join(pixels), np.uint8).reshape(-1, *SHAPE)
        return len(ExampleBatch(ids, images, np.array(labels, np.int64)))

    def read() -> int:
        payloads = itertools.chain.from_iterable(map(tfrecord.read_records, paths))
        count = 0
        while batch := list(itertools.islice(payloads, BATCH)):
            count += read_batch(batch)
        return count

    return passes(read)


def encode_ours(directory: str) -> Report:
    """The examples of our shards to framed records, by our codec."""
    return _encode(directory, codec.encode)


def encode_protobuf(directory: str) -> Report:
    """The examples of our shards to framed records, by protobuf, one by one."""

    def encode(batch: ExampleBatch) -> bytes:
        examples = zip(batch.ids, batch.images, batch.labels.tolist(), strict=True)
        return b"".join(
            tfrecord.frame(tf_example.serialize(example_id.encode(), image.tobytes(), label))
            for example_id, image, label in examples
        )

    return _encode(directory, encode)


def _encode(directory: str, encode: Callable[[ExampleBatch], bytes]) -> Report:
    _load_protobuf()
    paths = shards(directory)
    batches = [batch for path in paths for batch in codec.read_batches(path, SHAPE)]

    def encode_all() -> int:
        return sum(len(batch) for batch in batches if encode(batch))

    return passes(encode_all)


# --- inputs ---------------------------------------------------------------------------------------


def _load_payloads(records: str, images: int) -> list[bytes]:
    """The first serialized examples of a directory's training records."""
    payloads = itertools.chain.from_iterable(map(tfrecord.read_records, shards(records)))
    return list(itertools.islice(payloads, images))


def _load_pngs(records: str, images: int) -> list[bytes]:
    payloads = _load_payloads(records, images)
    return [tf_example.features(payload)["image"].bytes_list.value[0] for payload in payloads]


def _batches(pngs: list[bytes]) -> list[list[bytes]]:
    return [pngs[first : first + BATCH] for first in range(0, len(pngs), BATCH)]


def _load_protobuf() -> None:
    """Imports the message class that the codec would import while the clock runs."""
    from tensorflow_datasets.proto import tf_example_pb2  # noqa: F401


def _complete(report: Report, images: int) -> Report:
    """The report. Raises ValueError unless all images were handled."""
    if report["images"] != images:
        raise ValueError(f"only {report['images']} of {images} images were handled")
    return report
