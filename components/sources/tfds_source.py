"""Any TFDS image dataset: found where TFDS prepared it, or downloaded and prepared by TFDS.

Prepared files are read directly (TFRecord, tf.Example, PNG): the workers need no TensorFlow.
"""

import dataclasses
import functools
import itertools
import threading
import urllib.error
import urllib.request
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from etils import epath

from components.base import console, files
from components.base.artifacts import Input, fingerprint
from components.base.errors import ConfigError, WorkError
from components.data import tfrecord
from components.data.examples import CHANNELS, SPLITS, ExampleBatch
from components.ingest.conversion import Conversion
from components.ingest.example_template import FeatureExtractor
from components.ingest.ledger import Reason, Rejected, UnusableError
from components.sources.source import (
    UNLABELLED,
    Encoded,
    Slice,
    UnlistedInputs,
    decode_blocks,
    example_id,
    split_named,
)

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

_NETWORK_SECONDS = 8
# A part of a file is found by passing over the records before it, so there should be few.
_RECORDS_PER_SLICE = 16_384
_TEXTS = (".json", ".txt")


@dataclasses.dataclass(frozen=True)
class _Facts:
    """What a dataset says of itself.

    Attributes:
      image_key: the feature that holds the image.
      label_key: the one that holds the label, if there is one.
      class_names: the label's names, by label.
      channels: as declared; None where images may differ.
      files: by split, (name, number of records) of each file.
    """

    image_key: str
    label_key: str | None
    class_names: list[str]
    channels: int | None
    files: dict[str, list[tuple[str, int]]]


@dataclasses.dataclass(frozen=True)
class TfdsSource(UnlistedInputs):
    """A TFDS dataset prepared in `path` (the folder with dataset_info.json).

    Its splits may have other names for train, validation and test (`val`, `dev`). Others (`extra`,
    `unsupervised`) are left out; the first question after the images says so.

    Attributes:
      dataset: the name that was asked for.
      path: where it lies.
      conversion: what the images are turned into.
    """

    dataset: str
    path: epath.Path
    conversion: Conversion = dataclasses.field(default_factory=Conversion)

    @property
    def name(self) -> str:
        return self.dataset.split(":")[0].replace("/", "_")

    @property
    def input(self) -> Input:
        found = sorted(p for p in self.path.iterdir() if not p.name.startswith("."))
        # The shards are told by their sizes: reading them all would cost seconds, and each record
        # carries its own checksum.
        described = [
            (p.name, p.read_text() if p.suffix in _TEXTS else files.status(p).size) for p in found
        ]
        return Input(self.path, fingerprint(described))

    @property
    def settings(self) -> dict[str, Any]:
        return self.conversion.as_json()

    @functools.cached_property
    def _facts(self) -> _Facts:
        import tensorflow_datasets as tfds

        info = tfds.builder_from_directory(self.path).info
        features = info.features
        image_key = _image_key(self.dataset, info)
        labels = [key for key in features if isinstance(features[key], tfds.features.ClassLabel)]
        label_key = "label" if "label" in labels else next(iter(labels), None)
        return _Facts(
            image_key,
            label_key,
            list(features[label_key].names) if label_key else [UNLABELLED],
            features[image_key].shape[-1],
            {
                split: [
                    (self._checked(file), length)
                    for file, length in zip(
                        info.splits[name].filenames, info.splits[name].shard_lengths, strict=True
                    )
                ]
                for split, name in self._taken(list(info.splits)).items()
            },
        )

    def _taken(self, names: Collection[str]) -> dict[str, str]:
        """The dataset's name for each split that is read; warns of the others.

        Raises:
          ConfigError: there is none to be read.
        """
        taken: dict[str, str] = {}
        # A name that is the split's own goes before one that means it.
        for name in sorted(names, key=lambda name: (name not in SPLITS, name)):
            if split := split_named(name):
                taken.setdefault(split, name)
        left_out = ", ".join(sorted(set(names) - set(taken.values())))
        if not taken:
            raise ConfigError(
                f"dataset {self.dataset!r} has no split train, validation or test; it has: "
                f"{left_out or 'none'}; name another dataset"
            )
        if left_out:
            _warn_once(
                f"{self.dataset}: only {', '.join(taken.values())} are read, not the dataset's "
                f"other splits: {left_out}"
            )
        return {split: taken[split] for split in SPLITS if split in taken}

    def _checked(self, file: str) -> str:
        if ".tfrecord" not in file:
            raise ConfigError(
                f"{self.path / file} is no TFRecord file; prepare the dataset with "
                "file_format=tfrecord"
            )
        return file

    @property
    def class_names(self) -> list[str]:
        return self._facts.class_names

    @property
    def num_examples(self) -> Mapping[str, int]:
        return {
            split: sum(length for _, length in members)
            for split, members in self._facts.files.items()
        }

    def slices(self) -> list[Slice]:
        slices = []
        for split, members in self._facts.files.items():
            first = 0
            for file, length in members:
                for skip in range(0, length, _RECORDS_PER_SLICE):
                    count = min(_RECORDS_PER_SLICE, length - skip)
                    slices.append(Slice(split, file, first + skip, count))
                first += length
        return slices

    def read(self, part: Slice) -> Iterator[ExampleBatch | Rejected]:
        # As TensorFlow's decoders do, images become what the dataset says that they are.
        declared = self._facts.channels if self._facts.channels in CHANNELS else None
        channels = self.conversion.channels or declared
        conversion = dataclasses.replace(self.conversion, channels=channels)
        return decode_blocks(part.split, self._inputs(part), conversion)

    def _inputs(self, part: Slice) -> Iterator[Encoded | Rejected]:
        facts = self._facts
        cut = _cutter(facts.image_key, facts.label_key)
        num_classes = len(facts.class_names)
        first, length = self._place(part)
        skip = part.first - first
        path = self.path / part.name
        number = skip - 1
        # To the file's end if this is its last part: it may hold more than it should.
        stop = None if skip + part.examples == length else part.examples
        payloads = itertools.islice(tfrecord.read_records(path, skip=skip), stop)
        for number, record in enumerate(payloads, skip):
            key = example_id(part.split, first + number)
            try:
                image, label = cut(record)
            except UnusableError as error:
                yield Rejected(key, part.split, None, error.reason, str(error))
                continue
            label = label or 0
            if not 0 <= label < num_classes:
                detail = f"label {label} is outside 0..{num_classes - 1}"
                yield Rejected(key, part.split, None, Reason.BAD_LABEL, detail)
                continue
            yield Encoded(key, label, image)
        if number + 1 != skip + part.examples:
            raise WorkError(
                f"{path} holds {number + 1} records, its dataset_info.json says {length}: restore "
                "it, or have TFDS prepare the dataset again"
            )

    def _place(self, part: Slice) -> tuple[int, int]:
        """The index within the split of a file's first record, and how many records it has."""
        first = 0
        for file, length in self._facts.files[part.split]:
            if file == part.name:
                return first, length
            first += length
        raise ValueError(f"no file {part.name!r} in {part.split}")


@functools.cache
def _warn_once(message: str) -> None:
    console.warn(message)


@functools.cache
def _cutter(image_key: str, label_key: str | None) -> FeatureExtractor:
    """One for all slices that a worker reads: what it learns of the records serves again."""
    return FeatureExtractor(image_key, label_key)


def download(dataset: str, data_dir: epath.PathLike) -> epath.Path:
    """Has TFDS download and prepare `dataset` under `data_dir`; returns the folder.

    Raises:
      ConfigError: TFDS knows no such config or version of the dataset.
      WorkError: the dataset's server does not answer, or TFDS fails.
    """
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(dataset, data_dir=epath.Path(data_dir).expanduser())
    except (ValueError, AssertionError, tfds.core.DatasetNotFoundError) as error:
        raise ConfigError(f"TFDS has no dataset {dataset!r}: {_one_line(error)}") from None
    _image_key(dataset, builder.info)  # Better refused now than after gigabytes.
    # TFDS itself would retry for minutes.
    for url in list(builder.url_infos or {})[:1]:
        if not _answers(url):
            raise WorkError(
                f"dataset {dataset!r} is not prepared under {data_dir} and {url} does not answer; "
                "point --data_dir at a prepared copy, or use --dataset synthetic_garments, "
                "which needs none"
            )
    try:
        builder.download_and_prepare(file_format="tfrecord")
    except Exception as error:  # TFDS raises whatever its many datasets do.
        raise WorkError(f"TFDS could not prepare {dataset!r}: {_one_line(error)}") from error
    return epath.Path(builder.data_dir)


def _image_key(dataset: str, info: "tfds.core.DatasetInfo") -> str:
    """The feature that holds a dataset's image. Raises ConfigError where none does."""
    import tensorflow_datasets as tfds

    features = info.features
    keys = [key for key in features if isinstance(features[key], tfds.features.Image)]
    if not keys:
        raise ConfigError(
            f"dataset {dataset!r} has no image feature; it has: {', '.join(features)}"
        )
    return "image" if "image" in keys else keys[0]


def _one_line(error: Exception, *, length: int = 300) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= length else f"{text[:length]}…"


def _answers(url: str) -> bool:
    """Whether a server that works answers at `url` within some seconds."""
    answered = threading.Event()

    def ask() -> None:
        try:
            urllib.request.urlopen(
                urllib.request.Request(url, method="HEAD"), timeout=_NETWORK_SECONDS
            ).close()
        except urllib.error.HTTPError as error:
            if error.code >= 500:
                return  # A proxy's answer, or one of a server that is down.
        except OSError:
            return
        answered.set()

    # In a thread, since a name server that is silent knows no time-out.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_NETWORK_SECONDS)
    return answered.is_set()
