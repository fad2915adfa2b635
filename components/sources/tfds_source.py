"""Image datasets of TensorFlow Datasets (TFDS) as a source.

TFDS downloads and prepares a dataset. The prepared files are read without it (TFRecord, tf.Example,
PNG), so workers need no TensorFlow.
"""

import contextlib
import dataclasses
import functools
import itertools
import threading
import urllib.error
import urllib.request
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from etils import epath

from components.base import console, files, memory
from components.base.errors import ConfigError, WorkError, one_line
from components.base.manifest import Input, fingerprint
from components.data import tfds_metadata, tfrecord
from components.data.examples import CHANNELS, SPLITS, ExampleBatch
from components.ingest.conversion import AS_IS, Conversion
from components.ingest.example_template import FeatureExtractor
from components.ingest.rejection import Reason, Rejected, UnusableError
from components.sources.source import (
    MAX_LABEL,
    NO_LABEL,
    UNLABELLED,
    EncodedExample,
    IndivisibleFingerprint,
    Slice,
    decode_batches,
    example_id,
    split_from_name,
)

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

_MESSAGE_LENGTH = 300  # of an error of TFDS, in characters
_NETWORK_TIMEOUT = 8  # seconds
# Large, because reading a slice skips all records of the file before it.
_RECORDS_PER_SLICE = 16_384
# A record in a TFRecord file takes 16 bytes at least, and gzip shrinks data 1,032 times at most.
_MAX_RECORDS_PER_BYTE = 65


@dataclasses.dataclass(frozen=True)
class _DatasetInfo:
    """The metadata of a dataset in TFDS.

    Attributes:
      image_key: name of the feature with the image.
      label_key: name of the feature with the label; None if there is none.
      class_names: names of the classes; a label is an index into them.
      channels: number of channels of all images; None if it is not declared.
      files: (file name, number of records) of the files of each split.
    """

    image_key: str
    label_key: str | None
    class_names: list[str]
    channels: int | None
    files: dict[str, list[tuple[str, int]]]


@dataclasses.dataclass(frozen=True)
class TfdsSource(IndivisibleFingerprint):
    """A dataset that TFDS has prepared.

    A split may have another common name for train, validation or test (`val`, `dev`). All other
    splits (`extra`, `unsupervised`) are ignored with a warning. TFDS uses the label -1 where labels
    are not public; if the first example of a split has it, -1 means `unlabelled` everywhere.

    Attributes:
      dataset: the dataset's name as the user gave it.
      path: the directory with dataset_info.json.
      conversion: size and channels to convert the images to.
      load_bytes: the most bytes that a record may have.
    """

    dataset: str
    path: epath.Path
    conversion: Conversion = AS_IS
    load_bytes: int = memory.LOAD_BYTES

    @property
    def name(self) -> str:
        return self.dataset.split(":")[0].replace("/", "_")

    @property
    def input(self) -> Input:
        paths = sorted(path for path in self.path.iterdir() if not path.name.startswith("."))
        # Only the sizes of shards are compared: reading them would take seconds, and the checksum
        # of each record is verified later.
        contents = [
            (
                path.name,
                (
                    tfds_metadata.read_metadata(path)
                    if path.suffix in tfds_metadata.METADATA_SUFFIXES
                    else files.stat(path).size
                ),
            )
            for path in paths
        ]
        return Input(self.path, fingerprint(contents))

    @property
    def settings(self) -> dict[str, Any]:
        return self.conversion.as_json()

    @functools.cached_property
    def _info(self) -> _DatasetInfo:
        import tensorflow_datasets as tfds

        info = _read_info(self.path)
        features = info.features
        image_key = _image_key(self.dataset, info)
        labels = [key for key in features if isinstance(features[key], tfds.features.ClassLabel)]
        label_key = "label" if "label" in labels else next(iter(labels), None)
        split_files = {
            split: self._files(info.splits[name])
            for split, name in self._split_names(list(info.splits)).items()
        }
        class_names = _class_names(self.path, features[label_key]) if label_key else [UNLABELLED]
        if any(
            self._first_label(files_of_split, image_key, label_key) == NO_LABEL
            for files_of_split in split_files.values()
        ):
            class_names.append(UNLABELLED)
        return _DatasetInfo(
            image_key, label_key, class_names, features[image_key].shape[-1], split_files
        )

    def _first_label(
        self, split_files: list[tuple[str, int]], image_key: str, label_key: str | None
    ) -> int | None:
        """The label of a split's first example; None if it has none or cannot be read."""
        file = next((file for file, length in split_files if length), None)
        if label_key is None or file is None:
            return None
        # Damage is reported when the split is read.
        with contextlib.suppress(UnusableError, WorkError, OSError):
            for record in tfrecord.read_records(self.path / file, load_bytes=self.load_bytes):
                return _feature_extractor(image_key, label_key)(record)[1]
        return None

    def _split_names(self, names: Collection[str]) -> dict[str, str]:
        """The dataset's own name for each split that is read; warns if it has other splits.

        Raises:
          ConfigError: none of its splits is read.
        """
        own_names: dict[str, str] = {}
        # If a dataset has both `validation` and `dev`, the first is its validation split.
        for name in sorted(names, key=lambda name: (name not in SPLITS, name)):
            if split := split_from_name(name):
                own_names.setdefault(split, name)
        ignored = ", ".join(sorted(set(names) - set(own_names.values())))
        if not own_names:
            raise ConfigError(
                f"dataset {self.dataset!r} has no split train, validation or test; it has: "
                f"{ignored or 'none'}; name another dataset"
            )
        if ignored:
            _warn_once(
                f"{self.dataset}: reading only the splits {', '.join(own_names.values())}; "
                f"ignoring: {ignored}"
            )
        return {split: own_names[split] for split in SPLITS if split in own_names}

    def _files(self, split_info: "tfds.core.SplitInfo") -> list[tuple[str, int]]:
        """(file name, number of records) of a split's files."""
        for file in split_info.filenames:
            if ".tfrecord" not in file:
                raise ConfigError(
                    f"{self.path / file} is not a TFRecord file; prepare the dataset with "
                    "file_format=tfrecord"
                )
        split_files = list(zip(split_info.filenames, split_info.shard_lengths, strict=True))
        for file, length in split_files:
            path = self.path / file
            most = _MAX_RECORDS_PER_BYTE * files.stat(path).size if path.exists() else length
            if not 0 <= length <= most:
                raise WorkError(
                    f"{path} cannot hold {length} records, as its dataset_info.json says: "
                    "restore the files, or delete the dataset and let TFDS prepare it again"
                )
        return split_files

    @property
    def class_names(self) -> list[str]:
        return self._info.class_names

    @property
    def num_examples(self) -> Mapping[str, int]:
        return {
            split: sum(length for _, length in split_files)
            for split, split_files in self._info.files.items()
        }

    def slices(self) -> list[Slice]:
        slices = []
        for split, split_files in self._info.files.items():
            first = 0
            for file, length in split_files:
                for skip in range(0, length, _RECORDS_PER_SLICE):
                    count = min(_RECORDS_PER_SLICE, length - skip)
                    slices.append(Slice(split, file, first + skip, count))
                first += length
        return slices

    def read(self, part: Slice) -> Iterator[ExampleBatch | Rejected]:
        # TFDS decodes all images to the number of channels that the dataset declares.
        declared = self._info.channels if self._info.channels in CHANNELS else None
        channels = self.conversion.channels or declared
        conversion = dataclasses.replace(self.conversion, channels=channels)
        return decode_batches(part.split, self._inputs(part), conversion)

    def _inputs(self, part: Slice) -> Iterator[EncodedExample | Rejected]:
        """Yields the records of a slice."""
        info = self._info
        extract = _feature_extractor(info.image_key, info.label_key)
        num_classes = len(info.class_names)
        file_first, file_length = self._locate(part)
        skip = part.first - file_first
        path = self.path / part.name
        records_seen = skip
        # The last slice of a file is read to the end of the file, to detect surplus records.
        limit = None if skip + part.examples == file_length else part.examples
        records = tfrecord.read_records(path, skip=skip, load_bytes=self.load_bytes)
        for record in itertools.islice(records, limit):
            key = example_id(part.split, file_first + records_seen)
            records_seen += 1
            try:
                image, label = extract(record)
            except UnusableError as error:
                yield Rejected(key, part.split, None, error.reason, str(error))
                continue
            label = label or 0
            if label == NO_LABEL and info.class_names[-1] == UNLABELLED:
                label = num_classes - 1
            if not 0 <= label < num_classes:
                detail = f"label {label} is outside 0..{num_classes - 1}"
                yield Rejected(key, part.split, None, Reason.BAD_LABEL, detail)
                continue
            yield EncodedExample(key, label, image)
        if records_seen != skip + part.examples:
            raise WorkError(
                f"{path} holds {records_seen} records, its dataset_info.json says {file_length}: "
                "restore the file, or delete the dataset and let TFDS prepare it again"
            )

    def _locate(self, part: Slice) -> tuple[int, int]:
        """The index in the split of the first record of a slice's file, and the file's length."""
        first = 0
        for file, length in self._info.files[part.split]:
            if file == part.name:
                return first, length
            first += length
        raise ValueError(f"no file {part.name!r} in {part.split}")


def _read_info(path: epath.Path) -> "tfds.core.DatasetInfo":
    """The metadata of a dataset in a directory that TFDS prepared.

    Raises:
      ConfigError: its files name code to import.
      WorkError: its files are missing or damaged.
    """
    import tensorflow_datasets as tfds

    tfds_metadata.check_tfds_metadata(path)
    try:
        return tfds.builder_from_directory(path).info
    except Exception as error:  # Every feature of TFDS raises its own errors.
        raise WorkError(
            f"TFDS cannot read {path}: {one_line(error, length=_MESSAGE_LENGTH)}; restore its "
            "features.json and dataset_info.json, or let TFDS prepare the dataset again"
        ) from error


def _class_names(path: epath.Path, label: "tfds.features.ClassLabel") -> list[str]:
    """Names of the classes. Raises WorkError if there are more than labels can have."""
    # Without names, TFDS generates one per class, however many classes there are.
    if label.num_classes is None or not 0 <= label.num_classes <= MAX_LABEL + 1:
        raise WorkError(
            f"{path}: the label has {label.num_classes} classes, but there may be "
            f"{MAX_LABEL + 1} at most; restore features.json"
        )
    return list(label.names)


# Workers unpickle the source with every slice; the cache keeps it from warning again.
@functools.cache
def _warn_once(message: str) -> None:
    console.warn(message)


# Cached because an extractor learns the layout of the records, which all slices share.
@functools.cache
def _feature_extractor(image_key: str, label_key: str | None) -> FeatureExtractor:
    return FeatureExtractor(image_key, label_key)


def download(dataset: str, data_dir: epath.PathLike) -> epath.Path:
    """Lets TFDS download and prepare a dataset.

    Args:
      dataset: `name[/config][:version]`.
      data_dir: directory in which TFDS keeps its datasets.

    Returns:
      The directory of the prepared dataset.

    Raises:
      ConfigError: TFDS does not know the dataset, or it has no images.
      WorkError: the dataset's server does not answer, or TFDS fails.
    """
    import tensorflow_datasets as tfds

    name, _, version = dataset.partition(":")
    name, _, config = name.partition("/")
    try:
        # Not `tfds.builder`: for some names it trusts the files in `data_dir`, and imports code
        # that they name.
        builder = tfds.builder_cls(name)(
            data_dir=epath.Path(data_dir).expanduser(),
            config=config or None,
            version=version or None,
        )
    except (ValueError, AssertionError, tfds.core.DatasetNotFoundError) as error:
        raise ConfigError(
            f"TFDS has no dataset {dataset!r}: {one_line(error, length=_MESSAGE_LENGTH)}; correct "
            "its name, config or version"
        ) from None
    _image_key(dataset, builder.info)  # Fail before the download, not after it.
    # TFDS would retry for minutes.
    for url in list(builder.url_infos or {})[:1]:
        if not _answers(url):
            raise WorkError(
                f"dataset {dataset!r} is not prepared under {data_dir} and {url} does not answer; "
                "point --data_dir at a prepared copy, or use --dataset synthetic_garments, "
                "which needs no download"
            )
    try:
        builder.download_and_prepare(file_format="tfrecord")
    except Exception as error:  # Each TFDS dataset raises its own errors.
        raise WorkError(
            f"TFDS could not prepare {dataset!r}: {one_line(error, length=_MESSAGE_LENGTH)}; "
            "prepare it with TFDS, then run the same command again"
        ) from error
    return epath.Path(builder.data_dir)


def _image_key(dataset: str, info: "tfds.core.DatasetInfo") -> str:
    """Name of the feature with a dataset's image. Raises ConfigError if there is none."""
    import tensorflow_datasets as tfds

    features = info.features
    keys = [key for key in features if isinstance(features[key], tfds.features.Image)]
    if not keys:
        raise ConfigError(
            f"dataset {dataset!r} has no image feature; it has: {', '.join(features)}; name "
            "another dataset"
        )
    return "image" if "image" in keys else keys[0]


def _answers(url: str) -> bool:
    """Whether a server answers a request for `url` in time, with anything but a server error."""
    answered = threading.Event()

    def request_head() -> None:
        try:
            urllib.request.urlopen(
                urllib.request.Request(url, method="HEAD"), timeout=_NETWORK_TIMEOUT
            ).close()
        except urllib.error.HTTPError as error:
            if error.code >= 500:
                return  # The server is down, or a proxy answers in its place.
        except OSError:
            return
        answered.set()

    # In a thread, because the time-out does not cover the name look-up.
    thread = threading.Thread(target=request_head, daemon=True)
    thread.start()
    thread.join(_NETWORK_TIMEOUT)
    return answered.is_set()
