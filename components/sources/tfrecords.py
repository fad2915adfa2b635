"""TFRecord files of tf.Examples as a source."""

import collections
import concurrent.futures
import dataclasses
import functools
import glob
import itertools
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from components.base import console, files
from components.base.errors import ConfigError, WorkError, nearest
from components.base.file_errors import error_reason
from components.base.manifest import Input, fingerprint
from components.base.shapes import Shape
from components.data import tfrecord
from components.data.examples import SPLITS, ExampleBatch
from components.ingest.conversion import AS_IS, Conversion
from components.ingest.example_template import FeatureExtractor, parse
from components.ingest.rejection import Rejected, UnusableError
from components.sources import dataset_names, source
from components.sources.escaping import to_dataset_name
from components.sources.feature_map import (
    FeatureMap,
    bad_label,
    read_id,
    read_image,
    read_label,
)
from components.sources.source import (
    MAX_LABEL,
    NO_LABEL,
    UNLABELLED,
    EncodedExample,
    Slice,
    example_id,
)
from components.sources.split_names import read_split

RECORDS_PER_SLICE = 8192
_SCAN_THREADS = 8


@dataclasses.dataclass(frozen=True)
class _InputFile:
    """The position of a file in its split.

    Attributes:
      split: name of the split that the file belongs to.
      first: index of its first record within the split.
      records: number of records.
    """

    split: str
    first: int
    records: int


@dataclasses.dataclass(frozen=True)
class _Scan:
    """What is known only after reading the records.

    Attributes:
      files: the files by name, sorted.
      class_names: names of the classes; a label is an index into them.
      labels: the label for each number or text that records have as their label.
    """

    files: dict[str, _InputFile]
    class_names: list[str]
    labels: dict[int | str, int]


@dataclasses.dataclass
class _FileScan:
    """The result of scanning one file.

    Attributes:
      missing: names in the feature map that no record has.
      records: number of records.
      features: names of the features of the first tf.Example.
      labels: number of records with each label.
      label_problem: why the first record without a label has none.
    """

    missing: set[str]
    records: int = 0
    features: list[str] = dataclasses.field(default_factory=list)
    labels: Counter[int | str] = dataclasses.field(default_factory=Counter)
    label_problem: str = ""


@dataclasses.dataclass(frozen=True)
class TfrecordsSource(source.IndivisibleFingerprint):
    """TFRecord files of tf.Examples, plain or gzipped.

    The split of a file is part of its name (`cats-val.tfrecord-00000-of-00002`) or the name of its
    folder, and `train` otherwise. Labels are numbers or texts, whichever most records have.
    The number -1 means that an image has no label.

    The number of records and the classes are known only after reading all records, so the first
    request for either scans all files once: it parses every record, but decodes no image. The
    result is pickled with the source.

    Attributes:
      pattern: a file; a folder, for all files in it with .tfrec in their names; or a path with the
        wildcards * and ?.
      features: names of the features.
      conversion: size and channels to convert the images to.
    """

    pattern: str
    features: FeatureMap
    conversion: Conversion = AS_IS

    def __getstate__(self) -> dict[str, Any]:
        # Accessing `_scan` scans the files if that has not been done, so that no worker has to.
        names = [field.name for field in dataclasses.fields(self)]
        return {name: getattr(self, name) for name in [*names, "_scan"]}

    @functools.cached_property
    def _root(self) -> epath.Path:
        """The folder that the names of the files are relative to."""
        path = epath.Path(self.pattern).expanduser()
        if path.is_dir():
            return path
        folder = path.parent
        while dataset_names.has_wildcard(os.fspath(folder)):
            folder = folder.parent
        return folder

    @functools.cached_property
    def _files(self) -> list[tuple[str, int, float]]:
        """(name, bytes, modification time) of each file, sorted by name.

        Raises:
          ConfigError: there are no files.
          WorkError: a file cannot be accessed.
        """
        path = epath.Path(self.pattern).expanduser()
        if path.is_dir():
            matches = [entry for entry in path.iterdir() if ".tfrec" in entry.name]
        elif path.exists():
            matches = [path]
        else:
            # In a pattern of this source, [ is not a wildcard.
            wildcards = os.fspath(path.relative_to(self._root)).replace("[", "[[]")
            matches = list(epath.Path(glob.escape(os.fspath(self._root))).glob(wildcards))
        matches = sorted(p for p in matches if not p.name.startswith(".") and not p.is_dir())
        with concurrent.futures.ThreadPoolExecutor(_SCAN_THREADS) as pool:
            stats = list(pool.map(_stat, matches))
        if not matches:
            raise ConfigError(
                f"no TFRecord file matches {self.pattern!r}; pass a file, a folder of files with "
                ".tfrecord in their names, or a pattern with * and ? in quotes"
            )
        return [
            (match.relative_to(self._root).as_posix(), *stat)
            for match, stat in zip(matches, stats, strict=True)
        ]

    @property
    def name(self) -> str:
        """The part before the split that all files' names share, otherwise the folder's name."""
        prefix, *others = {_split_and_prefix(self._root / name)[1] for name, _, _ in self._files}
        if others or not prefix:
            prefix = source.folder_name(self._root)
        return to_dataset_name(prefix)

    @property
    def input(self) -> Input:
        return Input(self._root, fingerprint(self._files))

    @property
    def settings(self) -> dict[str, Any]:
        return {"features": self.features.as_text(), **self.conversion.as_json()}

    @property
    def class_names(self) -> list[str]:
        return self._scan.class_names

    @property
    def num_examples(self) -> Mapping[str, int]:
        counts: Counter[str] = Counter()
        for file in self._scan.files.values():
            counts[file.split] += file.records
        return {split: counts[split] for split in SPLITS if split in counts}

    def slices(self) -> list[Slice]:
        return [
            Slice(file.split, name, file.first + skip, min(RECORDS_PER_SLICE, file.records - skip))
            for name, file in self._scan.files.items()
            for skip in range(0, file.records, RECORDS_PER_SLICE)
        ]

    def read(self, part: Slice) -> Iterator[ExampleBatch | Rejected]:
        inputs = self._inputs(part)
        if self.features.shape is None:
            return source.decode_batches(part.split, inputs, self.conversion)
        return self._raw_batches(part.split, inputs, self.features.shape)

    @functools.cached_property
    def _scan(self) -> _Scan:
        count = console.counted(len(self._files), "TFRecord file")
        console.say(f"scanning {count} of {self.name} for the number of records and the labels")
        with concurrent.futures.ThreadPoolExecutor(_SCAN_THREADS) as pool:
            scans = list(pool.map(self._scan_file, [name for name, _, _ in self._files]))
        scans_by_split = collections.defaultdict(list)
        for (name, _, _), scan in zip(self._files, scans, strict=True):
            scans_by_split[_split_and_prefix(self._root / name)[0]].append(scan)
        self._check_features(scans_by_split)
        input_files: dict[str, _InputFile] = {}
        split_sizes: Counter[str] = Counter()  # records of each split so far
        labels: Counter[int | str] = Counter()
        for (name, _, _), scan in zip(self._files, scans, strict=True):
            split, _ = _split_and_prefix(self._root / name)
            input_files[name] = _InputFile(split, split_sizes[split], scan.records)
            split_sizes[split] += scan.records
            labels.update(scan.labels)
        if self.features.label is None:
            return _Scan(input_files, [UNLABELLED], {})
        if not labels:
            problem = next(scan.label_problem for scan in scans if scan.label_problem)
            raise ConfigError(
                f"no record of {self.pattern} has a label: {problem}; name another label in "
                "--features, or leave it out"
            )
        classes = self._classes(labels)
        class_names = [str(label) for label in classes]
        indices = {label: index for index, label in enumerate(classes)}
        if NO_LABEL in labels:
            if UNLABELLED not in class_names:
                class_names.append(UNLABELLED)
            indices[NO_LABEL] = class_names.index(UNLABELLED)
        return _Scan(input_files, class_names, indices)

    def _classes(self, labels: Counter[int | str]) -> Sequence[int | str]:
        """The classes, in the order of their labels.

        Args:
          labels: number of records with each label.

        Raises:
          ConfigError: there are too many classes.
        """
        texts = sorted(label for label in labels if isinstance(label, str))
        numbers = [label for label in labels if isinstance(label, int)]
        is_text = 2 * sum(labels[text] for text in texts) > labels.total() - labels[NO_LABEL]
        classes = texts if is_text else range(1 + max(numbers, default=-1))
        if len(classes) > MAX_LABEL + 1:
            raise ConfigError(
                f"feature {self.features.label!r} of {self.pattern} holds {len(classes)} classes, "
                f"but there may be {MAX_LABEL + 1} at most; name another label in --features"
            )
        return classes

    def _scan_file(self, name: str) -> _FileScan:
        scan = _FileScan(set(self._feature_names))
        for record in tfrecord.read_records(self._root / name):
            scan.records += 1
            try:
                feature = parse(record)
            except UnusableError:
                continue
            scan.features = scan.features or list(feature)
            scan.missing = {key for key in scan.missing if key not in feature}
            if self.features.label is not None:
                try:
                    scan.labels[read_label(feature, self.features.label)] += 1
                except UnusableError as error:
                    scan.label_problem = scan.label_problem or str(error)
        return scan

    @property
    def _feature_names(self) -> list[str]:
        """The names in the feature map."""
        names = (self.features.image, self.features.label, self.features.id)
        return [name for name in names if name is not None]

    def _check_features(self, scans_by_split: Mapping[str, list[_FileScan]]) -> None:
        """Raises ConfigError if no record of a split has a feature of this source's feature map."""
        scans = [scan for split_scans in scans_by_split.values() for scan in split_scans]
        existing = {name for scan in scans for name in scan.features}
        if not existing:
            raise ConfigError(
                f"{self.pattern} holds no tf.Example; pass files of serialized tf.Examples"
            )
        for name in self._feature_names:
            if all(name in scan.missing for scan in scans):
                raise ConfigError(
                    f"no record of {self.pattern} has the feature {name!r} of --features; "
                    f"{nearest(name, existing)}"
                )
            for split, split_scans in scans_by_split.items():
                has_records = any(scan.records for scan in split_scans)
                if has_records and all(name in scan.missing for scan in split_scans):
                    features = {key for scan in split_scans for key in scan.features}
                    raise ConfigError(
                        f"no record of the split {split} of {self.pattern} has the feature "
                        f"{name!r} of --features, which other splits have; its records have "
                        f"{', '.join(sorted(features)) or 'none'}; write its files again with "
                        "this feature, or move them away"
                    )

    def _inputs(self, part: Slice) -> Iterator[EncodedExample | Rejected]:
        """Yields the records of a slice: encoded images, or raw pixels if their shape is given."""
        path = self._root / part.name
        skip = part.first - self._scan.files[part.name].first
        extract = None
        if self.features.id is None:
            extract = FeatureExtractor(self.features.image, self.features.label)
        count = 0
        records = tfrecord.read_records(path, skip=skip)
        for count, record in enumerate(itertools.islice(records, part.examples), 1):
            key = example_id(part.split, part.first + count - 1)
            # The extractor is fast but does not handle every record; `_parse_record` does.
            example = None if extract is None else self._extract(key, record, extract)
            yield example or self._parse_record(key, part.split, record)
        if count < part.examples:
            raise WorkError(
                f"{path} holds {skip + count} records, fewer than when it was scanned; run the "
                "same command again, and leave the files unchanged while it runs"
            )

    def _extract(self, key: str, record: bytes, extract: FeatureExtractor) -> EncodedExample | None:
        """A record's example; None for text labels, raw pixels as numbers, and bad records."""
        try:
            data, number = extract(record)
        except UnusableError:
            return None
        label = 0 if number is None else self._scan.labels.get(number)
        has_size = self.features.shape is None or len(data) == math.prod(self.features.shape)
        return EncodedExample(key, label, data) if label is not None and has_size else None

    def _parse_record(self, key: str, split: str, record: bytes) -> EncodedExample | Rejected:
        names, label = self.features, None
        try:
            feature = parse(record)
            if names.label is None:
                label = 0
            else:
                value = read_label(feature, names.label)
                label = self._scan.labels.get(value)
                if label is None:
                    raise bad_label(names.label, value)
            if names.id is not None:
                key = read_id(feature, names.id)
            return EncodedExample(key, label, read_image(feature, names.image, names.shape))
        except UnusableError as error:
            return Rejected(key, split, label, error.reason, str(error))

    def _raw_batches(
        self, split: str, inputs: Iterator[EncodedExample | Rejected], shape: Shape
    ) -> Iterator[ExampleBatch | Rejected]:
        """Groups raw pixels into batches and converts these."""
        batch_rows = source.images_per_batch(shape, math.prod(shape), self.conversion)
        pending: list[EncodedExample] = []
        for item in inputs:
            if isinstance(item, Rejected):
                yield item
                continue
            pending.append(item)
            if len(pending) == batch_rows:
                yield from self._raw_batch(split, pending, shape)
                pending = []
        if pending:
            yield from self._raw_batch(split, pending, shape)

    def _raw_batch(
        self, split: str, items: list[EncodedExample], shape: Shape
    ) -> Iterator[ExampleBatch | Rejected]:
        pixels = np.frombuffer(b"".join(item.data for item in items), np.uint8)
        ids = [item.id for item in items]
        labels = np.array([item.label for item in items], np.int64)
        return source.convert_batch(split, ids, pixels.reshape(-1, *shape), labels, self.conversion)


def _stat(path: epath.Path) -> files.FileStat:
    try:
        return files.stat(path)
    except OSError as error:
        raise WorkError(
            f"cannot read {path}: {error_reason(error)}; restore the file, or move it away"
        ) from None


def _split_and_prefix(path: epath.Path) -> tuple[str, str]:
    """The split that a file belongs to, and the part of its name before the split."""
    stem, _, ending = path.name.partition(".tfrec")
    # The last part that names a split is the split: `test_of_cats-train.tfrecord` is train. The
    # name of the split may also follow the extension: `cats.tfrecord-train`.
    for text in (ending, stem):
        for part in reversed(list(re.finditer(r"[^-_.]+", text))):
            if split := _split_of(part[0], path):
                return split, stem[: part.start()] if text is stem else stem
    return _split_of(source.folder_name(path.parent), path) or "train", stem


def _split_of(name: str, path: epath.Path) -> str | None:
    """The split that a part of a path names; None if it names none.

    Raises:
      ConfigError: it stands for held-out data, but not clearly for one split.
    """
    reading = read_split(name)
    if reading is None or not reading.is_plain:
        return None
    if reading.split is None:
        raise ConfigError(
            f"{path}: {name!r} may be the validation or the test split; rename it to a name with "
            "train, validation or test"
        )
    return reading.split
