"""The files of generated images: a PNG file for each, and a table of their latents.

Images are decoded and written block by block. When the files of a block are complete, a mark is
written beside them, so that an interrupted run can continue.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from etils import epath

from components.base import artifacts, files
from components.base.progress import Progress
from components.data.table_formats import FORMATS, Table
from components.figures.mosaic import to_bytes
from components.ingest import image_file
from components.ingest.conversion import AS_IS

if TYPE_CHECKING:
    from components.model.vae import VAE

IMAGES, TABLE = "images", "latents"
_MARK_SUFFIX = ".done"


@dataclasses.dataclass(frozen=True)
class GeneratedImages:
    """Images to write.

    Attributes:
      vae: the model.
      count: their number.
      latents: blocks of latents, float32 [rows, latents], in order.
      labels: for a conditional model, int64, shape [count]; None for other models.
      class_names: names of the labels, by label; empty if they are not known.
    """

    vae: "VAE"
    count: int
    latents: Iterable[np.ndarray]
    labels: np.ndarray | None = None
    class_names: Sequence[str] = ()


def write(images: GeneratedImages, directory: epath.Path) -> None:
    """Writes `images/NUMBER.png` and `latents.parquet`; skips blocks that are complete.

    Args:
      images: what to write.
      directory: a draft.
    """
    (directory / IMAGES).mkdir(exist_ok=True)
    fields: list[tuple[str, pa.DataType]] = [("id", pa.string())]
    if images.labels is not None:
        fields += [("label", pa.int64()), ("label_name", pa.string())]
    schema = pa.schema([*fields, ("z", pa.list_(pa.float32(), images.vae.latents))])
    with Progress(images.count) as progress:
        table = Table(schema, images.count, _rows(images, schema, directory, progress))
        FORMATS["parquet"].write(table, directory, TABLE)
    for mark in (directory / IMAGES).glob(f"*{_MARK_SUFFIX}"):
        mark.unlink()


def path_of(directory: epath.Path, number: int) -> epath.Path:
    """The path of an image, by its number."""
    return directory / IMAGES / f"{_id(number)}.png"


def read(directory: epath.Path, numbers: Iterable[int]) -> np.ndarray:
    """Some of the images, uint8 [N, height, width, channels]."""
    return np.stack([image_file.read(path_of(directory, number), AS_IS) for number in numbers])


def _id(number: int) -> str:
    return f"{number:06d}"


def _rows(
    images: GeneratedImages, schema: pa.Schema, directory: epath.Path, progress: Progress
) -> Iterator[pa.RecordBatch]:
    """Yields the rows of the table, and writes the images of each block before its rows."""
    first = 0
    for z in images.latents:
        labels = None if images.labels is None else images.labels[first : first + len(z)]
        paths = [path_of(directory, first + row) for row in range(len(z))]
        _write_block(images.vae, z, labels, paths)
        columns: dict[str, pa.Array] = {
            "id": pa.array([path.stem for path in paths]),
            "z": pa.FixedSizeListArray.from_arrays(
                pa.array(z.ravel(), pa.float32()), type=schema.field("z").type
            ),
        }
        if labels is not None:
            names = dict(enumerate(images.class_names))
            columns["label"] = pa.array(labels, pa.int64())
            columns["label_name"] = pa.array(
                [_text(names.get(label)) for label in labels.tolist()], pa.string()
            )
        yield pa.record_batch([columns[name] for name in schema.names], schema=schema)
        first += len(z)
        progress.advance(
            len(z),
            label="generated:",
            figures={},
            line=f"generate: {first:,} of {images.count:,} images",
        )


def _text(name: str | None) -> str | None:
    """The name of a class as valid UTF-8; it may be the name of a folder, which need not be."""
    return None if name is None else name.encode(errors="replace").decode()


def _write_block(
    vae: "VAE", z: np.ndarray, labels: np.ndarray | None, paths: Sequence[epath.Path]
) -> None:
    """Decodes and writes the images of a block, unless they are complete."""
    from components.model.decode import decode

    mark = paths[0].with_suffix(_MARK_SUFFIX)
    is_marked = mark.exists() and all(path.exists() for path in paths)
    if is_marked and mark.read_text() == _digest(map(files.sha256, paths)):
        return
    digests = []
    for path, pixels in zip(paths, to_bytes(decode(vae, z, labels)), strict=True):
        content = image_file.to_png(pixels)
        path.write_bytes(content)
        digests.append(hashlib.sha256(content).hexdigest())
    with artifacts.atomic_write(mark) as temporary:
        temporary.write_text(_digest(digests))


def _digest(digests: Iterable[str]) -> str:
    return hashlib.sha256("".join(digests).encode()).hexdigest()
