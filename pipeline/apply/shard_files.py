"""TFRecord files of examples, which are the shards of a prepared dataset or copies of some."""

from collections import Counter
from collections.abc import Sequence

from etils import epath

from components.base import files
from components.base.errors import ConfigError, WorkError
from components.base.manifest import read_manifest
from components.base.shapes import Shape
from components.data import codec, tfds_metadata, tfrecord
from components.sources import dataset_names

# Part of the name of every shard.
TFRECORD = ".tfrecord"


def find(pattern: str) -> list[epath.Path]:
    """The shards that a pattern names, sorted by path; none if it names a source.

    A directory means all TFRecord files in it.

    Raises:
      ConfigError: no file matches, or several files have the same name.
    """
    is_directory = epath.Path(pattern).is_dir()
    if is_directory and _is_of_tfds(epath.Path(pattern)):
        return []
    if not is_directory and not dataset_names.has_wildcard(pattern):
        matches = [epath.Path(pattern)] if epath.Path(pattern).exists() else []
    else:
        matches = files.expand_pattern(f"{pattern.rstrip('/')}/*" if is_directory else pattern)
    shards = sorted(path for path in matches if TFRECORD in path.name)
    if not shards:
        _check_source(pattern, matches, is_directory=is_directory)
    repeated = [name for name, count in Counter(path.name for path in shards).items() if count > 1]
    if repeated:
        raise ConfigError(
            f"--input {pattern!r} matches several files named {repeated[0]}; embed the files of "
            "one directory at a time"
        )
    return shards


def _is_of_tfds(directory: epath.Path) -> bool:
    """Whether a directory is a dataset of TFDS that prepare did not write."""
    is_dataset = (directory / tfds_metadata.DATASET_INFO).exists()
    return is_dataset and tfds_metadata.read_image_shape(directory) is None


def _check_source(pattern: str, matches: Sequence[epath.Path], *, is_directory: bool) -> None:
    """Raises ConfigError for an input without shards that is not a source of images either."""
    for path in sorted(matches):
        if (manifest := read_manifest(path)) and manifest.stage == "prepare":
            raise ConfigError(
                f"no TFRecord file matches --input {pattern!r}; did you mean --input {path}?"
            )
    if is_directory and (manifest := read_manifest(epath.Path(pattern))) is not None:
        raise ConfigError(
            f"no TFRecord file matches --input {pattern!r}, which was made by the "
            f"{manifest.stage} stage; pass the directory of a prepared dataset, or images"
        )
    if not is_directory and dataset_names.has_wildcard(pattern):
        advice = "pass the folder that holds the images" if matches else "put a pattern in quotes"
        raise ConfigError(
            f"no TFRecord file matches --input {pattern!r}; pass the directory of a prepared "
            f"dataset, or {advice}"
        )


def count_records(path: epath.Path, image_shape: Shape) -> int:
    """The number of records in a TFRecord file, from their headers.

    Raises:
      WorkError: the file is damaged, or holds no records.
    """
    number = end = 0
    try:
        size = files.stat(path).size
        with files.open_regular(path) as file:
            while end < size:
                end += tfrecord.record_length(file.read(tfrecord.HEADER_BYTES))
                number += 1
                file.seek(end)
    except (ValueError, OSError):
        raise codec.diagnose(path, image_shape, number) from None
    if end != size:
        raise codec.diagnose(path, image_shape, number - 1)
    if not number:
        raise WorkError(f"{path} holds no examples; exclude it from --input")
    return number
