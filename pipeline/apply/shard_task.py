"""The task of applying a model to one shard, and the mark that says that the task is done."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from components.base import artifacts, files, json_types
from components.base.manifest import OutputRecord, fingerprint
from components.base.shapes import Shape

MARK_SUFFIX = ".done.json"
_MAX_MARK_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class ShardTask:
    """The task of applying a model to one shard.

    Attributes:
      shard: path of the TFRecord file.
      sha256: SHA-256 digest that the TFRecord file must have, in hexadecimal.
      examples: number of its examples, more than 0.
      image_shape: (height, width, channels) of every image.
      output: path of the files to write, up to the first dot of their names.
      split: the split that the shard belongs to; None if that is not known.
      first: number of its first example in the split.
      class_names: names of the labels, by label; empty if they are not known.
    """

    shard: str
    sha256: str
    examples: int
    image_shape: Shape
    output: str
    split: str | None = None
    first: int = 0
    class_names: tuple[str, ...] = ()

    @property
    def directory(self) -> epath.Path:
        """The directory of the files to write."""
        return epath.Path(self.output).parent

    @property
    def stem(self) -> str:
        """The beginning of the names of the files to write."""
        return epath.Path(self.output).name

    @property
    def mark(self) -> epath.Path:
        """The path of the mark that the files are complete."""
        return self.directory / f"{self.stem}{MARK_SUFFIX}"


@dataclasses.dataclass(frozen=True)
class ShardMark:
    """The content of a mark: the files of a shard.

    Attributes:
      key: digest of the model, the shard and the settings that they were made from.
      rows: number of examples.
      ids: digest of the ids of the examples, in order.
      files: the size and the digest of each file, by its name.
    """

    key: str
    rows: int
    ids: str
    files: dict[str, OutputRecord]

    def write(self, path: epath.Path) -> None:
        """Writes the mark."""
        with artifacts.atomic_write(path) as temporary:
            files.write_durably(temporary, json.dumps(dataclasses.asdict(self), indent=1))

    @staticmethod
    def read(path: epath.Path) -> "ShardMark":
        """Reads a mark. Raises ValueError if it is damaged, and OSError if there is none."""
        return json_types.parse(ShardMark, json_types.load(path, max_bytes=_MAX_MARK_BYTES))


def work_key(task: ShardTask, settings: Mapping[str, Any], model_sha256: str) -> str:
    """The digest of everything that the files of a shard depend on.

    Args:
      task: the shard.
      settings: those of the application, as JSON values.
      model_sha256: SHA-256 digest of the `.keras` file, in hexadecimal.
    """
    return fingerprint(
        {
            "model": model_sha256,
            "shard": task.sha256,
            "split": task.split,
            "first": task.first,
            "class_names": [ascii(name) for name in task.class_names],
            "settings": settings,
        }
    )


class IdsDigest:
    """The number of ids, and a digest of them in order, independent of how they come in parts."""

    def __init__(self) -> None:
        self.count = 0
        self._lengths = hashlib.sha256()
        self._texts = hashlib.sha256()

    def update(self, ids: Sequence[str]) -> None:
        """Adds ids."""
        texts = [each.encode() for each in ids]
        self.count += len(texts)
        self._lengths.update(np.fromiter(map(len, texts), "<i8", len(texts)).tobytes())
        self._texts.update(b"".join(texts))

    def hexdigest(self) -> str:
        """The digest of all ids, in hexadecimal."""
        return fingerprint([self._lengths.hexdigest(), self._texts.hexdigest()])
