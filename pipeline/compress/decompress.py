"""The decompress command: from a file to the images that were compressed."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from etils import epath

from components.base import console
from components.base.artifacts import ArtifactPlan, Draft
from components.base.errors import ConfigError, WorkError
from components.base.manifest import Artifact, Input, load_artifact
from components.base.progress import Progress
from components.base.shapes import format_shape
from components.compression.archive import Archive
from components.model import model_file
from components.model.registry import MODEL_FILE
from pipeline.beam import worker_pool
from pipeline.compress import block_worker, index, restored
from pipeline.compress.block_worker import ModelPath
from pipeline.compress.index import FolderIndex, ShardsIndex

_PIXELS = "pixels"


def decompress(
    *,
    model: epath.PathLike,
    source: epath.PathLike,
    output: epath.PathLike,
    salvage: bool = False,
    overwrite: bool = False,
    verify: bool = False,
) -> Artifact:
    """Restores the images that were compressed, unless they are up to date.

    Args:
      model: directory of the model that the images were compressed with.
      source: the file of compressed images.
      output: directory to publish the images in: PNG files, or a prepared dataset.
      salvage: restore the images of intact blocks, even if other blocks are damaged.
      overwrite: whether to replace another or a damaged artifact in `output`, or unfinished work.
      verify: whether to read all files of an artifact that is up to date, to check their content.

    Raises:
      ConfigError: `source` is not a file of compressed images, the model is another one, or
        `output` holds something else.
      WorkError: the file is damaged, or the model computes different numbers on this machine.
    """
    compressed = Archive(source)
    trained = load_artifact(model, stage="train")
    _check_model(compressed, trained)
    if not salvage:
        compressed.check_whole()
    try:
        content = index.parse(compressed.read_index(), images=compressed.header.images)
        labels = _labels(content, classes=model_file.num_classes(trained.path / MODEL_FILE))
    except ValueError as error:
        raise WorkError(f"{compressed.path} is damaged: {error}; get the file again") from None
    config: dict[str, Any] = {"salvage": salvage}
    if isinstance(content, ShardsIndex):
        config["dataset"] = content.dataset
    plan = ArtifactPlan(
        # A prepared dataset carries the stage name prepare, so that all stages read it.
        stage="prepare" if isinstance(content, ShardsIndex) else "decompress",
        directory=epath.Path(output),
        config=config,
        inputs={
            "compressed": Input(compressed.path, compressed.fingerprint),
            "model": trained.as_input(),
        },
    )
    if plan.is_up_to_date(overwrite=overwrite, verify=verify):
        console.say(f"decompress: up to date ({output})")
        return load_artifact(output, stage=plan.stage)
    with plan.publish(resume=True, overwrite=overwrite) as draft:
        lost = _decode(compressed, trained, labels, draft.path / _PIXELS)
        if lost and not salvage:
            raise WorkError(next(iter(lost.values())))
        _write(compressed, content, draft, lost)
        (draft.path / _PIXELS).rmtree()
    for note in draft.notes:
        console.warn(note)
    console.say(f"decompress: {console.counted(compressed.header.images, 'image')} in {output}")
    return load_artifact(output, stage=plan.stage)


def _check_model(compressed: Archive, trained: Artifact) -> None:
    """Raises ConfigError if the images were compressed with another model."""
    header = compressed.header
    if trained.output(MODEL_FILE).sha256 == header.model_sha256:
        trained.verified(MODEL_FILE)
        return
    shape = model_file.image_shape(trained.path / MODEL_FILE)
    shapes = ""
    if shape != header.image_shape:
        shapes = (
            f" of {format_shape(header.image_shape)} images, and this one codes "
            f"{format_shape(shape)}"
        )
    raise ConfigError(
        f"{compressed.path} was compressed with another model than {trained.path}{shapes}; give "
        f"--model the one whose {MODEL_FILE} has the SHA-256 digest {header.model_sha256[:80]}"
    )


def _labels(content: FolderIndex | ShardsIndex, *, classes: int) -> np.ndarray:
    """The labels of all images, int64; 0 where there are none.

    Raises:
      ValueError: the model is conditioned on classes, and a label is missing or out of range.
    """
    if isinstance(content, FolderIndex):
        if classes:
            raise ValueError("its index has no labels, which the model needs")
        return np.zeros(content.images, np.int64)
    if classes and not all(0 <= label < classes for label in content.labels):
        raise ValueError(f"its index has labels other than 0 to {classes - 1:,}")
    return np.array(content.labels, np.int64)


def _decode(
    compressed: Archive, trained: Artifact, labels: np.ndarray, directory: epath.Path
) -> dict[int, str]:
    """Decodes the blocks that are missing into files of pixels.

    Returns:
      The damage of each damaged block, by its number.
    """
    model = ModelPath(str(trained.path / MODEL_FILE), compressed.header.model_sha256)
    directory.mkdir(parents=True, exist_ok=True)
    missing = [
        number
        for number in range(len(compressed.header.blocks))
        if _pixels(compressed, directory, number) is None
    ]
    lost: dict[int, str] = {}
    if not missing:
        return lost
    block_worker.limit_threads()
    blocks, done = compressed.header.blocks, 0
    ends = np.cumsum([block.images for block in blocks])
    with (
        worker_pool.explain_crashes(),
        worker_pool.workers(min(len(missing), worker_pool.num_cores())) as pool,
        Progress(sum(blocks[number].images for number in missing)) as progress,
    ):
        running = {
            number: pool.submit(
                block_worker.decode_block,
                model,
                str(compressed.path),
                number,
                labels[ends[number] - blocks[number].images : ends[number]],
                str(_pixels_file(directory, number)),
            )
            for number in missing
        }
        for number, future in running.items():
            if (damage := future.result()) is not None:
                lost[number] = damage
            done += blocks[number].images
            progress.advance(
                blocks[number].images,
                label="decompressed:",
                figures={},
                line=f"decompress: decompressed {done:,} images",
            )
    return lost


def _pixels_file(directory: epath.Path, number: int) -> epath.Path:
    return directory / f"block-{number:06}"


def _pixels(compressed: Archive, directory: epath.Path, number: int) -> np.ndarray | None:
    """The images of a decoded block; None if its file is missing or damaged."""
    path, record = _pixels_file(directory, number), compressed.header.blocks[number]
    if not path.exists():
        return None
    images = np.frombuffer(path.read_bytes(), np.uint8)
    if block_worker.pixels_digest(images) != record.pixels:
        return None
    return images.reshape(record.images, *compressed.header.image_shape)


def _write(
    compressed: Archive, content: FolderIndex | ShardsIndex, draft: Draft, lost: dict[int, str]
) -> None:
    """Writes the files of the artifact, its counts, and notes on lost images."""
    header = compressed.header

    def images() -> Iterator[np.ndarray | None]:
        for number, record in enumerate(header.blocks):
            if number in lost:
                yield from [None] * record.images
                continue
            decoded = _pixels(compressed, draft.path / _PIXELS, number)
            if decoded is None:
                raise WorkError(
                    f"block {number} changed while it was in use; run the command again"
                )
            yield from decoded

    if isinstance(content, FolderIndex):
        restored.write_folder(content, images(), draft.path)
        draft.counts = {"images": header.images}
    else:
        counts = restored.write_shards(content, images(), header.image_shape, draft.path)
        draft.counts = counts.as_json()
    for number in lost:
        count = console.counted(header.blocks[number].images, "image")
        draft.notes.append(
            f"{count} of block {number} of {compressed.path} are lost: it is damaged"
        )
