"""The parts of a prepared dataset that make it a TFDS folder: shard names and metadata files.

With them, `tfds.builder_from_directory` reads the directory like any dataset that TFDS prepared.
"""

import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from components.base import files, json_types
from components.base.errors import ConfigError, WorkError
from components.base.file_errors import error_reason
from components.base.memory import format_bytes
from components.base.shapes import Shape
from components.data.dataset_counts import ShardCount

FEATURES = "features.json"
DATASET_INFO = "dataset_info.json"
METADATA_SUFFIXES = (".json", ".txt")
MAX_METADATA_BYTES = 64 << 20
# All of these are imported with TFDS, so that none of them leads to a further import.
_CLASS_MODULE = "tensorflow_datasets.core.features."
FEATURE_CLASSES = frozenset(
    _CLASS_MODULE + name
    for name in (
        "audio_feature.Audio",
        "bounding_boxes.BBoxFeature",
        "class_label_feature.ClassLabel",
        "dataset_feature.Dataset",
        "feature.Tensor",
        "features_dict.FeaturesDict",
        "image_feature.Image",
        "labeled_image.LabeledImage",
        "scalar.Scalar",
        "sequence_feature.Sequence",
        "tensor_feature.Tensor",
        "text_feature.Text",
        "top_level_feature.TopLevelFeature",
        "translation_feature.Translation",
        "translation_feature.TranslationVariableLanguages",
        "video_feature.Video",
    )
)
# Protocol buffers accept both spellings; `type` is that of the first versions of TFDS 4.
_CLASS_KEYS = ("pythonClassName", "python_class_name", "type")
_TEMPLATE_KEYS = ("filepathTemplate", "filepath_template")
# TFDS passes the template to `str.format`, to which `{SPLIT:9999999999}` is 10 GB of text.
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_PLAIN_PLACEHOLDER = re.compile(r"\{[A-Z_]+\}")
_NUM_SHOWN = 80  # Characters of a name from a file, in an error message.


def shard_name(dataset: str, split: str, shard: int, num_shards: int) -> str:
    """The file name of a shard, in TFDS's naming scheme."""
    return f"{dataset}-{split}.tfrecord-{shard:05d}-of-{num_shards:05d}"


def read_image_shape(directory: epath.Path) -> Shape | None:
    """The shape in the features.json of a directory; None if there is none of this project.

    Raises:
      WorkError: the file is a pipe or a device.
    """
    try:
        features = json_types.load(directory / FEATURES, max_bytes=MAX_METADATA_BYTES)
        image = features["featuresDict"]["features"]["image"]["tensor"]
        height, width, channels = map(int, image["shape"]["dimensions"])
    except (OSError, KeyError, TypeError, ValueError, OverflowError):
        return None
    return height, width, channels


def check_tfds_metadata(directory: epath.Path) -> None:
    """Checks that the metadata of a directory, perhaps made by a stranger, is safe for TFDS.

    TFDS imports the module of each class that features.json names, and an import runs code. So it
    may name only TFDS's own features, at any depth, also within strings that hold JSON.

    Args:
      directory: a directory with the files features.json and dataset_info.json.

    Raises:
      ConfigError: another class is named, or the names of the shards have an unknown format.
      WorkError: a file is missing, too large or no JSON.
    """
    for path in directory.iterdir():
        # TFDS reads some of them, and would wait for a pipe without end.
        if path.suffix in METADATA_SUFFIXES:
            read_metadata(path)
    for where, key, value in _walk(_read_json(directory / FEATURES)):
        if key in _CLASS_KEYS and value not in FEATURE_CLASSES:
            raise ConfigError(
                f"{directory / FEATURES} names the class {value[:_NUM_SHOWN]!r}{where}, which is "
                "none of TFDS's own, and would be imported: a dataset must not bring code; prepare "
                "the dataset again with the features of TFDS"
            )
    for where, key, value in _walk(_read_json(directory / DATASET_INFO)):
        if key in _TEMPLATE_KEYS and not all(
            map(_PLAIN_PLACEHOLDER.fullmatch, _PLACEHOLDER.findall(value))
        ):
            raise ConfigError(
                f"{directory / DATASET_INFO} has the file names {value[:_NUM_SHOWN]!r}{where}, "
                "with a format that TFDS does not write; restore the file"
            )


def read_metadata(path: epath.Path) -> str:
    """The text of a file with metadata, which a stranger may have made.

    Raises:
      WorkError: it cannot be read, is not a regular file, or is larger than MAX_METADATA_BYTES.
    """
    try:
        # Not `epath.Path.is_file`, for which pipes and devices are files.
        if os.path.exists(path) and not os.path.isfile(path):
            raise WorkError(f"{path} is not a regular file; restore the file")
        if (size := files.stat(path).size) > MAX_METADATA_BYTES:
            raise WorkError(
                f"{path} has {format_bytes(size)}, but metadata may have "
                f"{format_bytes(MAX_METADATA_BYTES)} at most; restore the file"
            )
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise WorkError(f"{path} cannot be read: {error_reason(error)}; restore the file") from None


def _read_json(path: epath.Path) -> Any:
    try:
        return json.loads(read_metadata(path))
    except (ValueError, RecursionError):
        raise WorkError(f"{path} is damaged: it is no JSON; restore the file") from None


def _walk(document: Any) -> Iterator[tuple[str, str, str]]:
    """Yields (place, key, text) for each text under a key in a JSON value, at any depth.

    Texts that hold JSON are searched too: TFDS parses some of them.
    """
    pending: list[tuple[str, Any]] = [("", document)]
    while pending:
        where, value = pending.pop()
        if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
            try:
                pending.append((where, json.loads(value)))
            except (ValueError, RecursionError):
                continue
        elif isinstance(value, list):
            pending += [(where, item) for item in value]
        elif isinstance(value, dict):
            for key, item in value.items():
                if isinstance(item, str):
                    yield where, key, item
                pending.append((f" at {key[:_NUM_SHOWN]!r}", item))


def write_tfds_metadata(
    directory: epath.Path,
    *,
    dataset: str,
    image_shape: Shape,
    class_names: list[str],
    shards: Mapping[str, Sequence[ShardCount]],
) -> None:
    """Writes features.json, dataset_info.json and the file of class names, as TFDS reads them.

    Args:
      directory: directory of the shards.
      dataset: name of the dataset, as in the names of its shards.
      image_shape: (height, width, channels) of every image.
      class_names: names of the labels, by label.
      shards: the shards of each split, in order.
    """
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict(
        {
            "id": tfds.features.Text(),
            # Raw bytes: TFDS stores a uint8 tensor without an encoding as int64 values.
            "image": tfds.features.Tensor(
                shape=image_shape, dtype=np.uint8, encoding=tfds.features.Encoding.BYTES
            ),
            "label": tfds.features.ClassLabel(names=class_names),
        }
    )
    template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    splits = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[shard.examples for shard in counts],
            num_bytes=sum(shard.examples for shard in counts) * math.prod(image_shape),
            filename_template=tfds.core.ShardedFileTemplate(
                data_dir=directory,
                template=template,
                dataset_name=dataset,
                split=split,
                filetype_suffix="tfrecord",
            ),
        )
        for split, counts in shards.items()
    ]
    tfds.folder_dataset.write_metadata(
        data_dir=directory,
        features=features,
        split_infos=splits,
        filename_template=template,
        version="1.0.0",
        check_data=False,
    )
