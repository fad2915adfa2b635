"""One small dataset in every format that a source reads."""

import gzip
import io
import struct
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from components.data import tf_example
from components.sources import registry
from components.sources.source import Source
from tests.tfrecords import write_records

# 20 training images and 10 test images of two classes.
IMAGES = np.random.default_rng(0).integers(0, 256, (30, 5, 4), np.uint8)
LABELS = np.arange(30) % 2
ROWS_BY_SPLIT = {"train": range(20), "test": range(20, 30)}


def open_source(dataset: str, data_dir: object = "", **fields) -> tuple[Source, list[str]]:
    return registry.open_source(
        registry.SourceRequest(dataset=dataset, data_dir=str(data_dir), **fields)
    )


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def write_folder(root: Path) -> dict[str, str]:
    for split, rows in ROWS_BY_SPLIT.items():
        for row in rows:
            folder = root / split / str(LABELS[row])
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{row:02d}.png").write_bytes(png(IMAGES[row]))
    return {}


def write_idx(root: Path) -> dict[str, str]:
    for split, rows in ROWS_BY_SPLIT.items():
        name = {"train": "train", "test": "t10k"}[split]
        header = struct.pack(">HBB3I", 0, 8, 3, len(rows), 5, 4)
        (root / f"{name}-images-idx3-ubyte").write_bytes(header + IMAGES[rows].tobytes())
        labels = struct.pack(">HBBI", 0, 8, 1, len(rows)) + LABELS[rows].astype("u1").tobytes()
        (root / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    return {}


def write_npz(root: Path) -> dict[str, str]:
    arrays = {f"{split}_images": IMAGES[rows] for split, rows in ROWS_BY_SPLIT.items()}
    arrays |= {f"{split}_labels": LABELS[rows] for split, rows in ROWS_BY_SPLIT.items()}
    np.savez_compressed(root / "all.npz", **arrays)
    return {"dataset": str(root / "all.npz")}


def write_npy(root: Path) -> dict[str, str]:
    for split, rows in ROWS_BY_SPLIT.items():
        np.save(root / f"{split}_images.npy", IMAGES[rows])
        np.save(root / f"{split}_labels.npy", LABELS[rows])
    return {}


def write_tfrecords(root: Path) -> dict[str, str]:
    for split, rows in ROWS_BY_SPLIT.items():
        records = [
            tf_example.serialize(str(row).encode(), IMAGES[row].tobytes(), int(LABELS[row]))
            for row in rows
        ]
        write_records(root / f"mine-{split}.tfrecord", records)
    return {"features": "image=image:5x4x1,label=label,id=id"}


def write_tfds(
    root: Path, rows_by_split: Mapping[str, Iterable[int]] = ROWS_BY_SPLIT
) -> dict[str, str]:
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(5, 4, 1)),
            "label": tfds.features.ClassLabel(num_classes=2),
        }
    )
    folder = root / "mine/1.0.0"
    folder.mkdir(parents=True)
    infos = []
    for split, rows in rows_by_split.items():
        records = [
            features.serialize_example({"image": IMAGES[row][..., None], "label": int(LABELS[row])})
            for row in rows
        ]
        write_records(folder / f"mine-{split}.tfrecord-00000-of-00001", records)
        template = tfds.core.ShardedFileTemplate(
            data_dir=folder, dataset_name="mine", split=split, filetype_suffix="tfrecord"
        )
        infos.append(
            tfds.core.SplitInfo(
                name=split, shard_lengths=[len(records)], num_bytes=0, filename_template=template
            )
        )
    tfds.folder_dataset.write_metadata(
        data_dir=folder, features=features, split_infos=infos, check_data=False
    )
    return {"dataset": str(folder)}


# Each writes the dataset below a directory and returns the fields of a `SourceRequest` for it, if
# these are more than the path of the directory.
WRITERS: dict[str, Callable[[Path], dict[str, str]]] = {
    "folder": write_folder,
    "idx": write_idx,
    "npz": write_npz,
    "npy": write_npy,
    "tfrecords": write_tfrecords,
    "tfds": write_tfds,
}


def pretend_prepared(data_dir: Path, *names: str) -> None:
    """Creates directories that TFDS seems to have prepared, by `dataset/version`."""
    for name in names:
        (data_dir / name).mkdir(parents=True)
        (data_dir / name / "dataset_info.json").write_text("{}")
