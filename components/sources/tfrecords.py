"""TFRecord files of tf.Examples as a source."""

import dataclasses
import functools
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from etils import epath

from components.base import console, memory
from components.base.errors import WorkError
from components.base.manifest import Input, fingerprint
from components.base.shapes import Shape
from components.data import tfrecord
from components.data.examples import SPLITS, ExampleBatch
from components.ingest.conversion import AS_IS, Conversion
from components.ingest.example_template import FeatureExtractor, parse
from components.ingest.rejection import Rejected, UnusableError
from components.sources import source, tfrecord_files, tfrecord_splits
from components.sources.escaping import escape, to_dataset_name
from components.sources.feature_map import (
    FeatureMap,
    bad_label,
    bad_values,
    read_id,
    read_image,
    read_label,
)
from components.sources.source import (
    EncodedExample,
    Slice,
    example_id,
)
from components.sources.split_names import read_split
from components.sources.tfrecord_scan import RecordScan, scan_files

RECORDS_PER_SLICE = 8192


@dataclasses.dataclass(frozen=True)
class TfrecordsSource(source.IndivisibleFingerprint):
    """TFRecord files of tf.Examples, plain or gzipped.

    The split of a file is part of its name (`cats-val.tfrecord-00000-of-00002`) or of the name of a
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
      load_bytes: the most bytes that a record may have.
    """

    pattern: str
    features: FeatureMap
    conversion: Conversion = AS_IS
    load_bytes: int = memory.LOAD_BYTES

    def __getstate__(self) -> dict[str, Any]:
        # Accessing `_scan` scans the files if that has not been done, so that no worker has to.
        names = [field.name for field in dataclasses.fields(self)]
        return {name: getattr(self, name) for name in [*names, "_scan"]}

    @functools.cached_property
    def _root(self) -> epath.Path:
        return tfrecord_files.root_of(self.pattern)

    @functools.cached_property
    def _files(self) -> list[tuple[str, int, float]]:
        return tfrecord_files.list_tfrecords(self.pattern)

    @functools.cached_property
    def _assignments(self) -> dict[str, tfrecord_splits.FileSplit]:
        names = [name for name, _, _ in self._files]
        return tfrecord_splits.assign_splits(source.folder_name(self._root), names)

    @property
    def name(self) -> str:
        """The part before the split that all files' names share, otherwise the folder's name."""
        prefix, *others = {assigned.prefix for assigned in self._assignments.values()}
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
    def _scan(self) -> RecordScan:
        count = console.counted(len(self._files), "TFRecord file")
        console.say(f"scanning {count} of {self.name} for the number of records and the labels")
        self._warn_of_folder()
        return scan_files(
            self._root,
            {name: self._assignments[name].split for name, _, _ in self._files},
            self.features,
            pattern=self.pattern,
            load_bytes=self.load_bytes,
        )

    def _warn_of_folder(self) -> None:
        """Warns if only the name of the folder says that the files may be held out."""
        folder = source.folder_name(self._root)
        reading = read_split(folder)
        is_named = all(assigned.is_named for assigned in self._assignments.values())
        if reading and reading.split != "train" and not is_named:
            console.warn(
                f"the name of the folder {escape(folder)} may say that its files are held out, but "
                "they become train; if they are for validation or for the test, put that into "
                "their names, as in a-test.tfrecord"
            )

    def _inputs(self, part: Slice) -> Iterator[EncodedExample | Rejected]:
        """Yields the records of a slice: encoded images, or raw pixels if their shape is given."""
        path = self._root / part.name
        skip = part.first - self._scan.files[part.name].first
        extract = None
        if self.features.id is None:
            extract = FeatureExtractor(self.features.image, self.features.label)
        count = 0
        records = tfrecord.read_records(path, skip=skip, load_bytes=self.load_bytes)
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
        has_size = self.features.shape is None or len(data) == self.features.raw_bytes
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
            return EncodedExample(key, label, read_image(feature, names))
        except UnusableError as error:
            return Rejected(key, split, label, error.reason, str(error))

    def _raw_batches(
        self, split: str, inputs: Iterator[EncodedExample | Rejected], shape: Shape
    ) -> Iterator[ExampleBatch | Rejected]:
        """Groups raw pixels into batches and converts these."""
        batch_rows = source.images_per_batch(shape, self.features.raw_bytes, self.conversion)
        pending: list[EncodedExample] = []
        for item in inputs:
            if isinstance(item, Rejected):
                yield item
                continue
            pending.append(item)
            if len(pending) == batch_rows:
                yield from self._raw_batch(split, pending)
                pending = []
        if pending:
            yield from self._raw_batch(split, pending)

    def _raw_batch(
        self, split: str, items: list[EncodedExample]
    ) -> Iterator[ExampleBatch | Rejected]:
        pixels, is_valid = self.features.decode_raw(b"".join(item.data for item in items))
        if not is_valid.all():
            error = bad_values(self.features, "0..1")
            for row in np.flatnonzero(~is_valid):
                item = items[row]
                yield Rejected(item.id, split, item.label, error.reason, str(error))
            items = [items[row] for row in np.flatnonzero(is_valid)]
            pixels = pixels[is_valid]
        if items:
            ids = [item.id for item in items]
            labels = np.array([item.label for item in items], np.int64)
            yield from source.convert_batch(split, ids, pixels, labels, self.conversion)
