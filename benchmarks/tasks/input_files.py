"""The files that other tasks read: gray images as IDX, PNG and PNG records; and images in color.

and images in color.
"""

import struct
import time
from pathlib import Path

import numpy as np

from benchmarks.tasks.reports import BATCH, Report

FASHION = "fashion_mnist"
SHAPE = (28, 28, 1)
_IDX_NAMES = {"train": "train", "test": "t10k"}

SPLITS = tuple(_IDX_NAMES)


def write_idx(output: str, images: int, data_dir: str) -> Report:
    """Writes images and labels as IDX files.

    Args:
      output: directory to write to.
      images: number of images; 6/7 of them are for training.
      data_dir: where TFDS has prepared Fashion-MNIST; if empty, garments are drawn.
    """
    start = time.perf_counter()
    Path(output).mkdir()
    counts = {"train": images * 6 // 7, "test": images - images * 6 // 7}
    for split, count in counts.items():
        pixels, labels = (
            _read_fashion(split, count, data_dir) if data_dir else _draw_garments(split, count)
        )
        paths = _idx_paths(output, split)
        for path, num_dimensions, array in zip(paths, (3, 1), (pixels, labels), strict=True):
            shape = array.shape[:num_dimensions]
            header = struct.pack(f">BBBB{num_dimensions}I", 0, 0, 8, num_dimensions, *shape)
            path.write_bytes(header + array.astype(np.uint8).tobytes())
    return {"images": images, "seconds": time.perf_counter() - start}


def write_pngs(idx: str, output: str) -> Report:
    """Writes the images of IDX files as PNG files, one folder per class."""
    from PIL import Image

    for label in range(10):
        (Path(output) / f"class{label}").mkdir(parents=True)
    images = 0
    start = time.perf_counter()
    for split in SPLITS:
        for pixels, label in zip(*read_idx(idx, split), strict=True):
            Image.fromarray(pixels[..., 0]).save(f"{output}/class{label}/{images:06d}.png")
            images += 1
    return {"images": images, "seconds": time.perf_counter() - start}


def write_records(idx: str, output: str) -> Report:
    """Writes the training images of IDX files as TFDS does: tf.Examples with a PNG and a label."""
    import io

    from PIL import Image
    from tensorflow_datasets.proto import tf_example_pb2

    from components.data import tfrecord

    def record(pixels: np.ndarray, label: int) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels[..., 0]).save(buffer, "PNG")
        example = tf_example_pb2.Example()
        example.features.feature["image"].bytes_list.value.append(buffer.getvalue())
        example.features.feature["label"].int64_list.value.append(label)
        return example.SerializeToString(deterministic=True)

    images, labels = read_idx(idx, "train")
    start = time.perf_counter()
    Path(output).mkdir()
    framed = b"".join(map(tfrecord.frame, map(record, images, labels.tolist())))
    (Path(output) / "garments-train.tfrecord-00000-of-00001").write_bytes(framed)
    return {"images": len(images), "seconds": time.perf_counter() - start}


def write_photos(output: str, images: int) -> Report:
    """Writes random training images of 64 x 64 pixels in color, as arrays in one file."""
    rng = np.random.default_rng(0)
    start = time.perf_counter()
    coarse = rng.integers(0, 256, (images, 8, 8, 3), np.uint8)
    np.savez(output, train_images=coarse.repeat(8, axis=1).repeat(8, axis=2))
    return {"images": images, "seconds": time.perf_counter() - start}


def read_idx(directory: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """A split's images, uint8 [N, 28, 28, 1], and labels, uint8 [N]."""
    images_path, labels_path = _idx_paths(directory, split)
    images = np.fromfile(images_path, np.uint8, offset=16).reshape(-1, *SHAPE)
    return images, np.fromfile(labels_path, np.uint8, offset=8)


def _idx_paths(directory: str, split: str) -> tuple[Path, Path]:
    stem = Path(directory) / _IDX_NAMES[split]
    return Path(f"{stem}-images-idx3-ubyte"), Path(f"{stem}-labels-idx1-ubyte")


def _read_fashion(split: str, count: int, data_dir: str) -> tuple[np.ndarray, np.ndarray]:
    import tensorflow_datasets as tfds

    loaded = tfds.load(
        FASHION, split=f"{split}[:{count}]", data_dir=data_dir, download=False, batch_size=-1
    )
    examples = tfds.as_numpy(loaded)
    return examples["image"], examples["label"]


def _draw_garments(split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    from components.sources import garments

    rng = np.random.default_rng(sorted(SPLITS).index(split))
    labels = np.arange(count) % len(garments.CLASS_NAMES)
    batches = [labels[first : first + BATCH] for first in range(0, count, BATCH)]
    return np.concatenate([garments.draw_garments(batch, rng) for batch in batches]), labels
