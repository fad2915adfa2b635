"""Applies a model to the images of many shards; an `Application` says how.

A shard is a task for Beam. Its examples are streamed: while the model computes a block of them, the
next one is read and the last one is written, so that memory does not grow with the shard. When the
files of a shard are complete, a mark is written beside them, so that an interrupted run can
continue.
"""

import concurrent.futures
import contextlib
import functools
import math
import threading
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from etils import epath

from components.base import files, tensorflow_setup
from components.base.errors import WorkError
from components.base.manifest import Artifact, OutputRecord
from components.data import codec
from components.data.examples import ExampleBatch
from components.data.shard_reader import check_num_records
from components.model.registry import MODEL_FILE
from pipeline.apply.shard_task import MARK_SUFFIX, IdsDigest, ShardMark, ShardTask, work_key
from pipeline.beam import report_progress

if TYPE_CHECKING:
    from components.model.vae import VAE

# Pixels of a block: enough for batches of any model, and few enough for the caches of a CPU.
_BLOCK_BYTES = 2 << 20

T = TypeVar("T")
R = TypeVar("R")


class OpenApplication(Protocol):
    """An application with a model in memory."""

    def write(self, task: ShardTask, blocks: Iterator[ExampleBatch]) -> dict[str, OutputRecord]:
        """Writes the files of a shard, each atomically, in the directory of the task.

        Args:
          task: the shard.
          blocks: its examples, in order.

        Returns:
          The size and the digest of each file, by its name.
        """


class Application(Hashable, Protocol):
    """A way to apply a model to images. It can be pickled."""

    def settings(self) -> dict[str, Any]:
        """Everything that the result depends on besides the model and the shard, as JSON values."""

    def open(self, vae: "VAE") -> OpenApplication:
        """The application with a model."""

    def read_ids(self, task: ShardTask) -> Iterator[list[str]] | None:
        """The ids in the files of a shard, in order, in parts; None if they hold no ids."""


def apply(
    tasks: Sequence[ShardTask],
    application: Application,
    *,
    model: Artifact,
    stage: str,
    verb: str,
    beam_args: Sequence[str] = (),
) -> int:
    """Applies a model to shards, displays the progress, and checks that no example is missing.

    Shards whose files are complete are skipped. At the end the marks are removed.

    Args:
      tasks: the shards; their outputs are in one directory.
      application: the application.
      model: the artifact of the train stage.
      stage: name of the calling stage, for the lines of a log.
      verb: the action in the past tense, such as `embedded`.
      beam_args: options of Beam.

    Returns:
      The number of examples.

    Raises:
      WorkError: a shard or the model is damaged or does not match its digest, a shard has another
      number of records, or the files do not hold the examples of the shards.
    """
    model_sha256 = model.output(MODEL_FILE).sha256
    pending = [task for task in tasks if not _is_done(task, application, model_sha256)]
    if pending:
        # Imports Beam, which takes a second.
        from pipeline.beam import launch

        work = report_progress.Work(
            label=f"{verb}:",
            unit="shards",
            total=len(tasks),
            count=lambda path: {"shards": 1, "images": ShardMark.read(path).rows},
            line=lambda sums: (
                f"{stage}: {verb} {sums['shards']:,} of {len(tasks):,} shards, "
                f"{sums['images']:,} images"
            ),
        )
        with report_progress.shown(work, tasks[0].directory, f"*{MARK_SUFFIX}"):
            launch.run_tasks(
                pending,
                apply_to_shard,
                application,
                str(model.path / MODEL_FILE),
                model_sha256,
                beam_args=beam_args,
            )
    rows = sum(_check_ids(task, application) for task in tasks)
    for task in tasks:
        task.mark.unlink()
    return rows


def apply_to_shard(
    task: ShardTask, application: Application, model: str, model_sha256: str
) -> dict[str, int]:
    """Writes the files of a shard, and its mark.

    Args:
      task: the shard.
      application: the application.
      model: path of the `.keras` file.
      model_sha256: SHA-256 digest of that file, in hexadecimal.

    Returns:
      The counter `rows`: the number of examples.

    Raises:
      WorkError: the shard or the model is damaged or does not match its digest, or the shard has
      another number of records.
    """
    with _LOADING:
        opened, batch_size = _open(application, model, model_sha256)
    digest = IdsDigest()
    blocks = _ahead(_blocks(task, digest, batch_size))
    with contextlib.closing(blocks):
        written = opened.write(task, blocks)
    key = work_key(task, application.settings(), model_sha256)
    ShardMark(key, digest.count, digest.hexdigest(), written).write(task.mark)
    return {"rows": digest.count}


# Threads of one process share its model.
_LOADING = threading.Lock()


@functools.lru_cache(maxsize=1)
def _open(application: Application, model: str, sha256: str) -> tuple[OpenApplication, int]:
    """The application with the model of a `.keras` file, which is loaded once per process.

    Returns:
      The application, and the number of images that the model computes at once on this device.
    """
    path = epath.Path(model)
    if files.sha256(path) != sha256:
        raise files.content_error(path)
    tensorflow_setup.load()
    from components.model import vae
    from components.model.stream_batches import stream_batch_size

    loaded = vae.load(model).in_float32()
    return application.open(loaded), stream_batch_size(loaded)


def _is_done(task: ShardTask, application: Application, model_sha256: str) -> bool:
    """Whether the files of a shard are complete; removes a mark of other files."""
    try:
        mark = ShardMark.read(task.mark)
    except (OSError, ValueError):
        mark = None
    if mark and mark.key == work_key(task, application.settings(), model_sha256):
        paths = {task.directory / name: record for name, record in mark.files.items()}
        if all(path.exists() and files.sha256(path) == paths[path].sha256 for path in paths):
            return True
    task.mark.unlink(missing_ok=True)
    return False


def _blocks(task: ShardTask, digest: IdsDigest, batch_size: int) -> Iterator[ExampleBatch]:
    """Yields the examples of a shard in blocks of whole batches, except for the last block.

    Raises:
      WorkError: the shard is damaged or does not match its digest, or has another number of
      records.
    """
    size = batch_size * max(1, _BLOCK_BYTES // (batch_size * math.prod(task.image_shape)))
    pending: list[ExampleBatch] = []
    num_pending = 0
    path = epath.Path(task.shard)
    for examples in codec.read_batches(path, task.image_shape, sha256=task.sha256):
        digest.update(examples.ids)
        if digest.count > task.examples:
            break
        pending.append(examples)
        num_pending += len(examples)
        if num_pending >= size:
            joined = ExampleBatch.concatenate(pending)
            whole = num_pending - num_pending % size
            for first in range(0, whole, size):
                yield joined.part(first, first + size)
            pending, num_pending = [joined.part(whole, num_pending)], num_pending - whole
    check_num_records(path, digest.count, task.examples)
    if num_pending:
        yield ExampleBatch.concatenate(pending)


def _ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """Yields the items of an iterator, while a thread computes the next one ahead."""
    end = object()
    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        following = pool.submit(next, items, end)
        while (item := following.result()) is not end:
            following = pool.submit(next, items, end)
            yield item  # type: ignore[misc]


def mapped_ahead(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yields the results of a function for items, while a thread computes the next one ahead."""
    return _ahead(map(function, items))


def _check_ids(task: ShardTask, application: Application) -> int:
    """Checks that the files of a shard hold its examples, by reading their ids back.

    Returns:
      The number of examples.

    Raises:
      WorkError: they do not.
    """
    mark = ShardMark.read(task.mark)
    digest = IdsDigest()
    if (parts := application.read_ids(task)) is not None:
        for ids in parts:
            digest.update(ids)
        if (digest.count, digest.hexdigest()) != (mark.rows, mark.ids):
            raise WorkError(
                f"{task.output} holds {digest.count:,} rows, which are not the {mark.rows:,} "
                f"examples of {task.shard}; nothing was published; please report this bug"
            )
    check_num_records(epath.Path(task.shard), mark.rows, task.examples)
    return mark.rows
