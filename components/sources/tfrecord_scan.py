"""Reads all records of TFRecord files once, for their number and the labels."""

import collections
import concurrent.futures
import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from etils import epath

from components.base.errors import ConfigError, nearest
from components.data import tfrecord
from components.ingest.example_template import parse
from components.ingest.rejection import UnusableError
from components.sources.feature_map import FeatureMap, read_label
from components.sources.source import MAX_LABEL, NO_LABEL, UNLABELLED

_THREADS = 8
# With more different labels than this, the texts alone exceed the number of classes allowed. They
# are not collected, because they would fill the memory.
_MAX_SCANNED_LABELS = 2 * (MAX_LABEL + 1)


@dataclasses.dataclass(frozen=True)
class InputFile:
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
class RecordScan:
    """The facts that are known only after all records have been read.

    Attributes:
      files: the files by name, sorted.
      class_names: names of the classes; a label is an index into them.
      labels: the label for each number or text that records have as their label.
    """

    files: dict[str, InputFile]
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


def scan_files(
    root: epath.Path,
    splits: Mapping[str, str],
    features: FeatureMap,
    *,
    pattern: str,
    load_bytes: int,
) -> RecordScan:
    """Scans files.

    Args:
      root: the folder that the names of the files are relative to.
      splits: split of each file, by its name, sorted by name.
      features: names of the features.
      pattern: what the user calls the files, for messages.
      load_bytes: the most bytes that a record may have.

    Raises:
      ConfigError: no record has a feature, or a label; or there are too many classes.
      WorkError: a file is damaged.
    """

    def scan_file(name: str) -> _FileScan:
        records = tfrecord.read_records(root / name, load_bytes=load_bytes)
        return _scan_records(records, features, pattern)

    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        scanned = pool.map(scan_file, splits)
        scans = dict(zip(splits, scanned, strict=True))
    scans_by_split = collections.defaultdict(list)
    for name, scan in scans.items():
        scans_by_split[splits[name]].append(scan)
    _check_features(scans_by_split, features, pattern)
    input_files: dict[str, InputFile] = {}
    split_sizes: Counter[str] = Counter()  # records of each split so far
    labels: Counter[int | str] = Counter()
    for name, scan in scans.items():
        split = splits[name]
        input_files[name] = InputFile(split, split_sizes[split], scan.records)
        split_sizes[split] += scan.records
        labels.update(scan.labels)
    if features.label is None:
        return RecordScan(input_files, [UNLABELLED], {})
    if not labels:
        problem = next(scan.label_problem for scan in scans.values() if scan.label_problem)
        raise ConfigError(
            f"no record of {pattern} has a label: {problem}; name another label in --features, or "
            "leave it out"
        )
    class_names, indices = _classes(labels, features, pattern)
    return RecordScan(input_files, class_names, indices)


def _scan_records(records: Iterable[bytes], features: FeatureMap, pattern: str) -> _FileScan:
    scan = _FileScan(set(_feature_names(features)))
    for record in records:
        scan.records += 1
        try:
            feature = parse(record)
        except UnusableError:
            continue
        scan.features = scan.features or list(feature)
        scan.missing = {key for key in scan.missing if key not in feature}
        if features.label is not None:
            try:
                scan.labels[read_label(feature, features.label)] += 1
            except UnusableError as error:
                scan.label_problem = scan.label_problem or str(error)
            if len(scan.labels) > _MAX_SCANNED_LABELS:
                raise _too_many_classes(features, pattern, f"over {_MAX_SCANNED_LABELS}")
    return scan


def _classes(
    labels: Counter[int | str], features: FeatureMap, pattern: str
) -> tuple[list[str], dict[int | str, int]]:
    """The names of the classes, and the label for each number or text.

    Args:
      labels: number of records with each label.
      features: names of the features.
      pattern: what the user calls the files, for messages.

    Raises:
      ConfigError: there are too many classes.
    """
    texts = sorted(label for label in labels if isinstance(label, str))
    numbers = [label for label in labels if isinstance(label, int)]
    is_text = 2 * sum(labels[text] for text in texts) > labels.total() - labels[NO_LABEL]
    classes: Sequence[int | str] = texts if is_text else range(1 + max(numbers, default=-1))
    if len(classes) > MAX_LABEL + 1:
        raise _too_many_classes(features, pattern, str(len(classes)))
    class_names = [str(label) for label in classes]
    indices = {label: index for index, label in enumerate(classes)}
    if NO_LABEL in labels:
        if UNLABELLED not in class_names:
            class_names.append(UNLABELLED)
        indices[NO_LABEL] = class_names.index(UNLABELLED)
    return class_names, indices


def _too_many_classes(features: FeatureMap, pattern: str, count: str) -> ConfigError:
    return ConfigError(
        f"feature {features.label!r} of {pattern} holds {count} classes, but there may be "
        f"{MAX_LABEL + 1} at most; name another label in --features"
    )


def _feature_names(features: FeatureMap) -> list[str]:
    """The names in a feature map."""
    return [name for name in (features.image, features.label, features.id) if name is not None]


def _check_features(
    scans_by_split: Mapping[str, list[_FileScan]], features: FeatureMap, pattern: str
) -> None:
    """Raises ConfigError if no record of a split has a feature of the feature map."""
    scans = [scan for split_scans in scans_by_split.values() for scan in split_scans]
    existing = {name for scan in scans for name in scan.features}
    if not existing:
        raise ConfigError(f"{pattern} holds no tf.Example; pass files of serialized tf.Examples")
    for name in _feature_names(features):
        if all(name in scan.missing for scan in scans):
            raise ConfigError(
                f"no record of {pattern} has the feature {name!r} of --features; "
                f"{nearest(name, existing)}"
            )
        for split, split_scans in scans_by_split.items():
            has_records = any(scan.records for scan in split_scans)
            if has_records and all(name in scan.missing for scan in split_scans):
                others = {key for scan in split_scans for key in scan.features}
                raise ConfigError(
                    f"no record of the split {split} of {pattern} has the feature "
                    f"{name!r} of --features, which other splits have; its records have "
                    f"{', '.join(sorted(others)) or 'none'}; write its files again with "
                    "this feature, or move them away"
                )
