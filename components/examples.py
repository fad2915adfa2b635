"""Examples: what one is, how many of them lie together, and how they stand in TFRecords.

An example is an image (uint8 pixels), a label and an id. Its tf.Example has three features:
`image` (the raw pixels, row by row), `label` (int64) and `id` (UTF-8), so that a folder of them
reads back with `tfds.builder_from_directory` and no image is ever decoded in training.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from etils import epath

from components import artifacts, records
from components.errors import ConfigError, WorkError

SPLITS = ("train", "validation", "test")
CHANNELS = (1, 3)


@dataclasses.dataclass(frozen=True)
class Block:
    """Examples of one shape, side by side.

    Attributes:
      ids: N texts.
      images: uint8, shape [N, height, width, channels].
      labels: int64, shape [N].
    """

    ids: list[str]
    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def shape(self) -> tuple[int, int, int]:
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    def take(self, rows: np.ndarray) -> "Block":
        """The examples at `rows`: indices, in the order given."""
        return Block([self.ids[row] for row in rows], self.images[rows], self.labels[rows])

    @staticmethod
    def concatenate(blocks: Iterable["Block"]) -> "Block":
        blocks = list(blocks)
        return Block(
            [example_id for block in blocks for example_id in block.ids],
            np.concatenate([block.images for block in blocks]),
            np.concatenate([block.labels for block in blocks]),
        )


@dataclasses.dataclass(frozen=True)
class ExampleSet:
    """A prepared directory: its name, shape, class names and shards.

    Attributes:
      path: the directory.
      dataset: the dataset's name.
      image_shape: (height, width, channels) of every image.
      class_names: the label's names, by label.
      shards: by split, (file name, number of examples) of each shard.
    """

    path: epath.Path
    dataset: str
    image_shape: tuple[int, int, int]
    class_names: list[str]
    shards: dict[str, list[tuple[str, int]]]
    artifact: artifacts.Artifact

    @staticmethod
    def open(directory: epath.PathLike) -> "ExampleSet":
        """Opens what `prepare` published.

        Raises:
          ConfigError: the directory is no finished artifact of the prepare stage.
          WorkError: a shard is missing or cut.
        """
        artifact = artifacts.load(directory, stage="prepare", check_sizes=False)
        counts: dict[str, Any] = dict(artifact.manifest["counts"])
        height, width, channels = counts["image_shape"]
        example_set = ExampleSet(
            path=artifact.path,
            dataset=artifact.manifest["config"]["dataset"],
            image_shape=(height, width, channels),
            class_names=counts["class_names"],
            shards={
                split: [(shard["file"], shard["examples"]) for shard in shards]
                for split, shards in counts["shards"].items()
            },
            artifact=artifact,
        )
        # First, since it can name the record where a shard is cut; then every other file.
        example_set._check_shards()
        artifact.check_sizes()
        return example_set

    def _check_shards(self) -> None:
        """Reads the shards that have another size than they should, to name the damaged record."""
        for shards in self.shards.values():
            for file, num_examples in shards:
                wanted = self.artifact.manifest["outputs"][file]["bytes"]
                path = self.path / file
                if path.exists() and path.stat().length != wanted:
                    self.read_shard(file, num_examples)

    @property
    def splits(self) -> list[str]:
        return [split for split in SPLITS if self.shards.get(split)]

    def num_examples(self, split: str) -> int:
        return sum(count for _, count in self.shards.get(split, []))

    def read_shard(self, file_name: str, num_examples: int) -> Block:
        """One shard, every record checked. Raises WorkError where it is damaged."""
        block = read_shard(self.path / file_name, self.image_shape)
        if len(block) != num_examples:
            raise WorkError(
                f"{self.path / file_name} holds {len(block)} records, its manifest says "
                f"{num_examples}: record {len(block)} is missing; prepare again with --overwrite"
            )
        return block

    def read(self, split: str) -> Block:
        """A whole split, in memory, in the order of its shards.

        Raises:
          ConfigError: there is no such split.
          WorkError: a shard is damaged; names the file and the record.
        """
        if split not in self.splits:
            raise ConfigError(
                f"{self.path} has no examples in split {split!r}; it has: {', '.join(self.splits)}"
            )
        return Block.concatenate(self.read_shard(*shard) for shard in self.shards[split])


def encode(block: Block) -> Iterator[bytes]:
    """Serialized tf.Examples; the same example gives the same bytes."""
    from tensorflow_datasets.proto import tf_example_pb2

    for example_id, image, label in zip(block.ids, block.images, block.labels, strict=True):
        example = tf_example_pb2.Example()
        feature = example.features.feature
        feature["id"].bytes_list.value.append(example_id.encode())
        feature["image"].bytes_list.value.append(image.tobytes())
        feature["label"].int64_list.value.append(int(label))
        # Without this flag protobuf may write the map's entries in any order.
        yield example.SerializeToString(deterministic=True)


def decode(payloads: Iterable[bytes], image_shape: tuple[int, int, int]) -> Block:
    """The examples of serialized tf.Examples, whose images all have `image_shape`.

    Raises:
      ValueError: one is no such example; says which and why.
    """
    from google.protobuf.message import DecodeError
    from tensorflow_datasets.proto import tf_example_pb2

    ids, pixels, labels = [], [], []
    size = math.prod(image_shape)
    for number, payload in enumerate(payloads):
        try:
            feature = tf_example_pb2.Example.FromString(payload).features.feature
            ids.append(feature["id"].bytes_list.value[0].decode())
            pixels.append(feature["image"].bytes_list.value[0])
            labels.append(feature["label"].int64_list.value[0])
        except (DecodeError, IndexError):
            raise ValueError(f"record {number} has no id, image and label") from None
        if len(pixels[-1]) != size:
            raise ValueError(
                f"record {number} has {len(pixels[-1])} bytes of pixels, "
                f"{'x'.join(map(str, image_shape))} needs {size}"
            )
    images = np.frombuffer(b"".join(pixels), np.uint8).reshape(-1, *image_shape)
    return Block(ids, images, np.array(labels, np.int64))


def read_shard(path: epath.PathLike, image_shape: tuple[int, int, int]) -> Block:
    """The examples of one TFRecord file.

    Raises:
      WorkError: it is damaged, or holds something else; names the file and the record.
    """
    try:
        return decode(records.read_records(path), image_shape)
    except ValueError as error:
        raise WorkError(f"{path} holds other records than prepare writes: {error}") from None


def shard_name(dataset: str, split: str, shard: int, num_shards: int) -> str:
    """TFDS's grammar of shard names."""
    return f"{dataset}-{split}.tfrecord-{shard:05d}-of-{num_shards:05d}"


def write_tfds_metadata(
    directory: epath.Path,
    *,
    dataset: str,
    image_shape: tuple[int, int, int],
    class_names: list[str],
    shards: dict[str, list[dict[str, Any]]],
) -> None:
    """Writes features.json, dataset_info.json and the label names, as TFDS reads them."""
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict(
        {
            "id": tfds.features.Text(),
            # Raw bytes: a uint8 tensor without an encoding would be stored as int64s.
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
            shard_lengths=[shard["examples"] for shard in infos],
            num_bytes=sum(shard["bytes"] for shard in infos),
            filename_template=tfds.core.ShardedFileTemplate(
                data_dir=directory,
                template=template,
                dataset_name=dataset,
                split=split,
                filetype_suffix="tfrecord",
            ),
        )
        for split, infos in shards.items()
    ]
    tfds.folder_dataset.write_metadata(
        data_dir=directory,
        features=features,
        split_infos=splits,
        filename_template=template,
        version="1.0.0",
        check_data=False,
    )


def description(example_set: ExampleSet) -> str:
    """One line for a log: name, counts, shape."""
    counts = ", ".join(f"{example_set.num_examples(s):,} {s}" for s in example_set.splits)
    height, width, channels = example_set.image_shape
    return f"{example_set.dataset}: {counts}, {height}x{width}x{channels}"
