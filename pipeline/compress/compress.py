"""The compress command: from images to one file, without loss."""

import collections
import dataclasses
import math
from concurrent.futures import Future

from etils import epath

from components.base import artifacts, console, files
from components.base.errors import ConfigError, WorkError
from components.base.manifest import Artifact, fingerprint, load_artifact
from components.base.memory import format_bytes
from components.base.progress import Progress
from components.base.shapes import Shape
from components.compression import archive_format, blocks, suitability
from components.compression.archive import Archive
from components.compression.archive_format import ArchiveHeader, BlockRecord
from components.model import model_file
from components.model.registry import MODEL_FILE
from pipeline.beam import worker_pool
from pipeline.compress import block_worker, draft, estimate, image_input
from pipeline.compress.block_worker import ModelPath
from pipeline.compress.config import CompressConfig
from pipeline.compress.image_input import CompressInput


def compress(
    config: CompressConfig = CompressConfig(),  # noqa: B008 - frozen
    *,
    model: epath.PathLike,
    pattern: str,
    output: epath.PathLike,
    only_estimate: bool = False,
    check_blocks: bool = True,
    overwrite: bool = False,
    verify: bool = False,
) -> None:
    """Compresses images into a file, unless it is up to date.

    Args:
      config: the settings.
      model: directory of a trained model.
      pattern: a folder of images, the directory of a prepared dataset, or a path of its shards.
      output: the file.
      only_estimate: print the expected size of the file, and write nothing.
      check_blocks: whether to decode each block before it is written.
      overwrite: whether to replace another file of compressed images, or unfinished work.
      verify: whether to check the digest of a file that is up to date.

    Raises:
      ConfigError: images cannot be compressed with the model, an image has another shape, or
        `output` is something else.
      WorkError: an input or the model is damaged, or a block does not decode to its images.
    """
    trained = load_artifact(model, stage="train")
    path = trained.verified(MODEL_FILE)
    suitability.check(path)
    shape = model_file.image_shape(path)
    source = image_input.find(pattern, trained, shape, classes=model_file.num_classes(path))
    if only_estimate:
        console.show(str(estimate.estimate(path, source)))
        return
    plan = {
        "model": trained.output(MODEL_FILE).sha256,
        "input": source.input.fingerprint,
        **dataclasses.asdict(config),
    }
    target = epath.Path(output)
    if _is_up_to_date(target, plan, overwrite=overwrite, verify=verify):
        console.say(f"compress: up to date ({output})")
        return
    with draft.open_draft(target, plan, overwrite=overwrite) as directory:
        count = _encode(trained, source, config, directory, check_blocks=check_blocks)
        header = _write(target, plan, shape, source, directory, count)
    console.say(f"compress: {summary(target, header)}")


def summary(path: epath.Path, header: ArchiveHeader) -> str:
    """One line about a file of compressed images: its size, in all and for each image."""
    size = files.stat(path).size
    if not header.images:
        return f"no images, {format_bytes(size)} in {path}"
    values = header.images * math.prod(header.image_shape)
    return (
        f"{console.counted(header.images, 'image')}, {format_bytes(size)} in {path}: "
        f"{8 * size / values:.3f} bits/dim, {values / size:.2f} times smaller than the pixels"
    )


def _is_up_to_date(
    target: epath.Path, plan: dict[str, object], *, overwrite: bool, verify: bool
) -> bool:
    """Whether a file holds the compressed images of a plan.

    Raises:
      ConfigError: it holds something else.
      WorkError: it is damaged, and is not to be replaced.
    """
    if not target.exists():
        return False
    if target.is_dir():
        raise ConfigError(f"{target} is a directory; give --output the name of a file")
    try:
        existing = Archive(target)
        if existing.header.input == fingerprint(plan):
            existing.check_whole() if verify else existing.check_size()
            return True
    except ConfigError as error:
        raise ConfigError(
            f"{target} exists and is not a file of compressed images of this version; choose "
            "another --output, or move it away"
        ) from error
    except WorkError:
        if not overwrite:
            raise
    if not overwrite:
        raise ConfigError(
            f"{target} holds other compressed images, of another input, model or settings; choose "
            "another --output, or replace the file with --overwrite"
        )
    return False


def _encode(
    trained: Artifact,
    source: CompressInput,
    config: CompressConfig,
    directory: epath.Path,
    *,
    check_blocks: bool,
) -> int:
    """Encodes the blocks that are missing, and returns the number of all blocks."""
    model = ModelPath(str(trained.path / MODEL_FILE), trained.output(MODEL_FILE).sha256)
    block_worker.limit_threads()
    processes = worker_pool.num_cores()
    running: collections.deque[Future[int]] = collections.deque()
    count = done = 0
    with (
        worker_pool.explain_crashes(),
        worker_pool.workers(processes) as pool,
        Progress(0, unit="images") as progress,
    ):

        def wait() -> None:
            nonlocal done
            images = running.popleft().result()
            done += images
            progress.advance(
                images,
                label="compressed:",
                figures={},
                line=f"compress: compressed {done:,} images",
            )

        for count, block in enumerate(
            blocks.divide(source.batches(), config.block_images), start=1
        ):
            file = block_file(directory, count - 1)
            found = block_worker.read_block_file(file)
            if found is not None and found[0].pixels == block_worker.pixels_digest(block.images):
                continue
            running.append(
                pool.submit(
                    block_worker.encode_block,
                    model,
                    block,
                    config.latent_bits,
                    check_blocks,
                    str(file),
                )
            )
            # To bound memory, at most as many blocks wait as are being encoded.
            if len(running) > 2 * processes:
                wait()
        while running:
            wait()
    return count


def _write(
    target: epath.Path,
    plan: dict[str, object],
    shape: Shape,
    source: CompressInput,
    directory: epath.Path,
    count: int,
) -> ArchiveHeader:
    """Writes the file of all blocks."""
    index = archive_format.pack_index(source.index().as_json())
    header = ArchiveHeader(
        version=archive_format.VERSION,
        model_sha256=str(plan["model"]),
        image_shape=shape,
        latent_bits=int(str(plan["latent_bits"])),
        input=fingerprint(plan),
        index_bytes=len(index),
        index_sha256=archive_format.digest(index),
        blocks=[_block(directory, number)[0] for number in range(count)],
    )
    with artifacts.atomic_write(target) as temporary:
        data = (_block(directory, number)[1] for number in range(count))
        with temporary.open("wb") as file:
            archive_format.write(file, header, index, data)
    return header


def _block(directory: epath.Path, number: int) -> tuple[BlockRecord, bytes]:
    found = block_worker.read_block_file(block_file(directory, number))
    if found is None:
        raise WorkError(
            f"{block_file(directory, number)} was damaged while it was in use; run the same "
            "command again"
        )
    return found


def block_file(directory: epath.Path, number: int) -> epath.Path:
    """The file of a block in the draft."""
    return directory / f"block-{number:06}"
