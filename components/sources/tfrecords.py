"""Existing TFRecord shards of tf.Examples, with the names of their features."""

import concurrent.futures
import contextlib
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
from components.base.artifacts import Input, fingerprint
from components.base.errors import ConfigError, WorkError, nearest
from components.base.files import why
from components.data import tfrecord
from components.data.examples import SPLITS, ExampleBatch
from components.ingest.conversion import Conversion
from components.ingest.example_template import FeatureExtractor, parse
from components.ingest.ledger import Rejected, UnusableError
from components.sources import source
from components.sources.escaping import dataset_name
from components.sources.feature_map import (
    FeatureMap,
    id_of,
    image_of,
    label_of,
    no_label,
)
from components.sources.source import MAX_LABEL, UNLABELLED, Encoded, Slice, example_id

RECORDS_PER_SLICE = 8192
_SCANNERS = 8  # files at a time


@dataclasses.dataclass(frozen=True)
class _Shard:
    """A file's split, the place of its first record in that, and how many it holds."""

    split: str
    first: int
    records: int


@dataclasses.dataclass(frozen=True)
class _Scan:
    """What stands in the records themselves.

    Attributes:
      shards: by file name, in order.
      class_names: the label's names, by label.
      labels: what stands as a label in the records, and the label that it means.
    """

    shards: dict[str, _Shard]
    class_names: list[str]
    labels: dict[int | str, int]


@dataclasses.dataclass
class _Tally:
    """What one file's records hold.

    Attributes:
      missing: the names in the feature map that no record has.
      records: how many there are.
      features: the names that the first tf.Example has.
      labels: how often each number and text stands as a label.
    """

    missing: set[str]
    records: int = 0
    features: list[str] = dataclasses.field(default_factory=list)
    labels: Counter[int | str] = dataclasses.field(default_factory=Counter)


@dataclasses.dataclass(frozen=True)
class TfrecordsSource(source.UnlistedInputs):
    """TFRecord files of tf.Examples, plain or gzipped.

    A file's split stands in its name (`cats-val.tfrecord-00000-of-00002`) or is the name of its
    folder; else it is `train`. Labels are numbers, or texts, whichever is more frequent.

    How many records there are, and which labels, stands in the records alone. So the first question
    after these scans all the files once: every record is parsed, no image is decoded. The answer
    is kept, and travels with the object.

    Attributes:
      pattern: a file, a folder (all files in it that have .tfrecord or .tfrec in their names), or
        a path with * and ?.
      features: which features hold what.
      conversion: what the images are turned into.
    """

    pattern: str
    features: FeatureMap
    conversion: Conversion = dataclasses.field(default_factory=Conversion)

    def __getstate__(self) -> dict[str, Any]:
        # Asked for here, so that no worker scans again; it needs no more than this.
        names = [field.name for field in dataclasses.fields(self)]
        return {name: getattr(self, name) for name in [*names, "_scan"]}

    @functools.cached_property
    def _root(self) -> epath.Path:
        """The folder that names of files are relative to."""
        path = epath.Path(self.pattern).expanduser()
        if path.is_dir():
            return path
        folder = path.parent
        while _is_wild(os.fspath(folder)):
            folder = folder.parent
        return folder

    @functools.cached_property
    def _files(self) -> list[tuple[str, int, float]]:
        """Name, bytes and time of change of each file, by name.

        Raises:
          ConfigError: there is none.
        """
        path = epath.Path(self.pattern).expanduser()
        if path.is_dir():
            found = [p for p in path.iterdir() if ".tfrec" in p.name]
        elif path.exists():
            found = [path]
        else:
            rest = os.fspath(path.relative_to(self._root)).replace("[", "[[]")
            found = list(epath.Path(glob.escape(os.fspath(self._root))).glob(rest))
        found = sorted(p for p in found if not p.name.startswith(".") and not p.is_dir())
        with concurrent.futures.ThreadPoolExecutor(_SCANNERS) as pool:
            stats = list(pool.map(_stat, found))
        if not found:
            raise ConfigError(
                f"no TFRecord file matches {self.pattern!r}; name a file, a folder of files with "
                ".tfrecord in their names, or a path with * and ? in quotes"
            )
        return [
            (p.relative_to(self._root).as_posix(), *status)
            for p, status in zip(found, stats, strict=True)
        ]

    @property
    def name(self) -> str:
        """What all the files' names begin with before the split; else the folder's name."""
        beginning, *others = {_place(self._root / name)[1] for name, _, _ in self._files}
        if others or not beginning:
            beginning = os.path.basename(os.path.abspath(self._root))
        return dataset_name(beginning)

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
        for shard in self._scan.shards.values():
            counts[shard.split] += shard.records
        return {split: counts[split] for split in SPLITS if counts[split]}

    def slices(self) -> list[Slice]:
        return [
            Slice(
                shard.split, name, shard.first + skip, min(RECORDS_PER_SLICE, shard.records - skip)
            )
            for name, shard in self._scan.shards.items()
            for skip in range(0, shard.records, RECORDS_PER_SLICE)
        ]

    def read(self, part: Slice) -> Iterator[ExampleBatch | Rejected]:
        inputs = self._inputs(part)
        if self.features.shape is None:
            return source.decode_blocks(part.split, inputs, self.conversion)
        return self._raw_blocks(part.split, inputs, self.features.shape)

    @functools.cached_property
    def _scan(self) -> _Scan:
        count = f"{len(self._files):,} TFRecord file{'s' if len(self._files) > 1 else ''}"
        console.say(f"scanning {count} of {self.name} for their number of records and labels")
        with concurrent.futures.ThreadPoolExecutor(_SCANNERS) as pool:
            tallies = list(pool.map(self._tally, [name for name, _, _ in self._files]))
        self._check_features(tallies)
        shards: dict[str, _Shard] = {}
        firsts: Counter[str] = Counter()
        labels: Counter[int | str] = Counter()
        for (name, _, _), tally in zip(self._files, tallies, strict=True):
            split, _ = _place(self._root / name)
            shards[name] = _Shard(split, firsts[split], tally.records)
            firsts[split] += tally.records
            labels.update(tally.labels)
        if self.features.label is None:
            return _Scan(shards, [UNLABELLED], {})
        classes = self._classes(labels)
        names = [str(label) for label in classes]
        return _Scan(shards, names, {label: place for place, label in enumerate(classes)})

    def _classes(self, labels: Counter[int | str]) -> Sequence[int | str]:
        """The labels that are classes, in order. Raises ConfigError where they cannot be any."""
        texts = sorted(label for label in labels if isinstance(label, str))
        numbers = [label for label in labels if isinstance(label, int)]
        is_textual = 2 * sum(labels[text] for text in texts) > labels.total()
        classes = texts if is_textual else range(1 + max(numbers, default=-1))
        if not 0 < len(classes) <= MAX_LABEL + 1:
            raise ConfigError(
                f"feature {self.features.label!r} of {self.pattern} holds {len(classes)} classes, "
                f"1 to {MAX_LABEL + 1} are possible; name another label in --features"
            )
        return classes

    def _tally(self, name: str) -> _Tally:
        tally = _Tally(set(self._wanted))
        for record in tfrecord.read_records(self._root / name):
            tally.records += 1
            try:
                feature = parse(record)
            except UnusableError:
                continue
            tally.features = tally.features or list(feature)
            tally.missing = {key for key in tally.missing if key not in feature}
            if self.features.label is not None:
                with contextlib.suppress(UnusableError):
                    tally.labels[label_of(feature, self.features.label)] += 1
        return tally

    @property
    def _wanted(self) -> list[str]:
        """The names in the feature map."""
        names = (self.features.image, self.features.label, self.features.id)
        return [name for name in names if name is not None]

    def _check_features(self, tallies: list[_Tally]) -> None:
        """Raises ConfigError where a feature that is named stands in no record."""
        there = {name for tally in tallies for name in tally.features}
        if not there:
            raise ConfigError(f"{self.pattern} holds no tf.Example; name files that hold some")
        for name in self._wanted:
            if all(name in tally.missing for tally in tallies):
                raise ConfigError(
                    f"no record of {self.pattern} has the feature {name!r} of --features; "
                    f"{nearest(name, there)}"
                )

    def _inputs(self, part: Slice) -> Iterator[Encoded | Rejected]:
        """The records of a slice: encoded images, or their raw pixels where there is a shape."""
        path = self._root / part.name
        skip = part.first - self._scan.shards[part.name].first
        cut = None
        if self.features.id is None:
            cut = FeatureExtractor(self.features.image, self.features.label)
        count = 0
        payloads = tfrecord.read_records(path, skip=skip)
        for count, record in enumerate(itertools.islice(payloads, part.examples), 1):
            key = example_id(part.split, part.first + count - 1)
            cut_out = None if cut is None else self._cut_out(key, record, cut)
            yield cut_out or self._parsed(key, part.split, record)
        if count < part.examples:
            raise WorkError(
                f"{path} holds {skip + count} records, less than when it was first read; "
                "let nobody change the files, and run again"
            )

    def _cut_out(self, key: str, record: bytes, cut: FeatureExtractor) -> Encoded | None:
        """An input in short, None where there is more to say about it."""
        try:
            data, number = cut(record)
        except UnusableError:
            return None
        label = 0 if number is None else self._scan.labels.get(number)
        is_whole = self.features.shape is None or len(data) == math.prod(self.features.shape)
        return Encoded(key, label, data) if label is not None and is_whole else None

    def _parsed(self, key: str, split: str, record: bytes) -> Encoded | Rejected:
        names, label = self.features, None
        try:
            feature = parse(record)
            if names.label is None:
                label = 0
            else:
                found = label_of(feature, names.label)
                label = self._scan.labels.get(found)
                if label is None:
                    raise no_label(names.label, found)
            if names.id is not None:
                key = id_of(feature, names.id)
            return Encoded(key, label, image_of(feature, names.image, names.shape))
        except UnusableError as error:
            return Rejected(key, split, label, error.reason, str(error))

    def _raw_blocks(
        self, split: str, inputs: Iterator[Encoded | Rejected], shape: tuple[int, int, int]
    ) -> Iterator[ExampleBatch | Rejected]:
        rows = source.images_per_block(shape, math.prod(shape), self.conversion)
        pending: list[Encoded] = []
        for item in inputs:
            if isinstance(item, Rejected):
                yield item
                continue
            pending.append(item)
            if len(pending) == rows:
                yield from self._raw_block(split, pending, shape)
                pending = []
        if pending:
            yield from self._raw_block(split, pending, shape)

    def _raw_block(
        self, split: str, items: list[Encoded], shape: tuple[int, int, int]
    ) -> Iterator[ExampleBatch | Rejected]:
        pixels = np.frombuffer(b"".join(item.data for item in items), np.uint8)
        ids = [item.id for item in items]
        labels = np.array([item.label for item in items], np.int64)
        return source.convert_block(split, ids, pixels.reshape(-1, *shape), labels, self.conversion)


def _is_wild(text: str) -> bool:
    return "*" in text or "?" in text


def _stat(path: epath.Path) -> files.Status:
    try:
        return files.status(path)
    except OSError as error:
        raise WorkError(f"cannot read {path}: {why(error)}; restore it, or move it away") from None


def _place(path: epath.Path) -> tuple[str, str]:
    """The split that a file belongs to, and what its name begins with before the split's."""
    stem = path.name.partition(".tfrec")[0]
    for part in reversed(list(re.finditer(r"[^-_.]+", stem))):
        if split := source.split_named(part[0]):
            return split, stem[: part.start()]
    folder = os.path.basename(os.path.dirname(os.path.abspath(path)))
    return source.split_named(folder) or "train", stem
