"""The parts of a prepared dataset that make it a TFDS folder: shard names and metadata files.

With them, `tfds.builder_from_directory` reads the directory like any dataset that TFDS prepared.
"""

import json
import math
from collections.abc import Mapping, Sequence

import numpy as np
from etils import epath

from components.base.shapes import Shape
from components.data.dataset_counts import ShardCount


def shard_name(dataset: str, split: str, shard: int, num_shards: int) -> str:
    """The file name of a shard, in TFDS's naming scheme."""
    return f"{dataset}-{split}.tfrecord-{shard:05d}-of-{num_shards:05d}"


def read_image_shape(directory: epath.Path) -> Shape | None:
    """The shape in the features.json of a directory; None if there is none of this project."""
    try:
        features = json.loads((directory / "features.json").read_text())
        image = features["featuresDict"]["features"]["image"]["tensor"]
        height, width, channels = map(int, image["shape"]["dimensions"])
    except (OSError, KeyError, TypeError, ValueError):
        return None
    return height, width, channels


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
