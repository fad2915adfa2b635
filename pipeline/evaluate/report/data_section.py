"""The section on the data: splits, classes, quarantine, duplicates and first examples."""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np

from components.base import console, json_types
from components.base.manifest import damaged
from components.base.shapes import format_shape
from components.data.prepared_dataset import PreparedDataset
from components.figures.page_pictures import Picture, tiles

MAX_CLASSES = 20  # More classes would fill the page.
_PICTURED = 8
_MAX_BATCHES = 16  # Of about 1 MiB, in which examples of every class are looked for.
_MAX_REASONS = 5


@dataclasses.dataclass(frozen=True)
class ClassRow:
    """A class of the data.

    Attributes:
      name: its name.
      counts: number of examples in each split, as text.
      image: its first training examples; None if there is none among the examples that were read.
    """

    name: str
    counts: list[str]
    image: Picture | None


@dataclasses.dataclass(frozen=True)
class DataSection:
    """The data of an evaluation.

    Attributes:
      summary: the dataset, in a sentence.
      account: the numbers of kept and rejected inputs, in a sentence.
      splits: names of the splits.
      classes: the classes, in the order in which they are shown; a single one without labels.
      more_classes: the number of classes that are left out, in words; empty if there are none.
      pictured: the largest number of examples in the image of a class.
    """

    summary: str
    account: str
    splits: list[str]
    classes: list[ClassRow]
    more_classes: str
    pictured: int = _PICTURED


@dataclasses.dataclass(frozen=True)
class _SplitRecord:
    """The numbers of kept and rejected inputs of a split, in a manifest."""

    reasons: dict[str, int]


def data_section(
    dataset: PreparedDataset, class_names: Sequence[str], order: np.ndarray
) -> DataSection:
    """Describes a dataset.

    Args:
      dataset: the dataset.
      class_names: names of the classes, by label, as pages show them.
      order: the labels in the order in which classes are shown.

    Raises:
      WorkError: the manifest or the first shard is damaged.
    """
    counts = dataset.counts
    splits = dataset.splits
    by_label = {split: counts.examples_by_label.get(split, []) for split in splits}
    images = _first_examples(dataset, splits[0])
    shown = order[:MAX_CLASSES].tolist()
    rows = [
        ClassRow(
            class_names[label],
            [f"{_at(by_label[split], label):,}" for split in splits],
            images.get(label),
        )
        for label in shown
    ]
    more = len(order) - len(shown)
    sizes = ", ".join(f"{dataset.num_examples(split):,} {split}" for split in splits)
    classes = "1 class" if len(class_names) == 1 else f"{len(class_names):,} classes"
    return DataSection(
        summary=f"{sizes} examples of {format_shape(dataset.image_shape)} in {classes}.",
        account=f"{_inputs(dataset)} {_duplicates(dataset)}",
        splits=splits,
        classes=rows,
        more_classes=f"{more:,} more classes are not shown." if more else "",
    )


def _first_examples(dataset: PreparedDataset, split: str) -> dict[int, Picture]:
    """The first examples of each class in the first batches: a fair sample, by hashes of ids."""
    found: dict[int, list[np.ndarray]] = {label: [] for label in range(len(dataset.class_names))}
    for batch in itertools.islice(dataset.batches(split), _MAX_BATCHES):
        for label in np.unique(batch.labels).tolist():
            wanted = _PICTURED - len(found[label])
            found[label] += list(batch.images[np.flatnonzero(batch.labels == label)[:wanted]])
        if all(len(images) == _PICTURED for images in found.values()):
            break
    return {label: tiles(np.stack(images)[np.newaxis]) for label, images in found.items() if images}


def _inputs(dataset: PreparedDataset) -> str:
    counts = dataset.counts
    if not counts.quarantined:
        return f"All {counts.inputs:,} inputs became examples."
    try:
        ledger = json_types.parse(dict[str, _SplitRecord], _reasons(counts.ledger), where="ledger")
    except ValueError as error:
        raise damaged(dataset.path, f"counts.{error}") from None
    reasons: Counter[str] = Counter()
    for split in ledger.values():
        reasons.update(split.reasons)
    listed = "; ".join(
        f"{count:,} {console.visible(reason)}"
        for reason, count in reasons.most_common(_MAX_REASONS)
    )
    return (
        f"Of {counts.inputs:,} inputs, {counts.quarantined:,} could not be used and are listed in "
        f"the quarantine: {listed}."
    )


def _reasons(ledger: dict[str, object]) -> dict[str, object]:
    """The part of a ledger that is shown."""
    return {
        split: {"reasons": each.get("reasons")} if isinstance(each, dict) else each
        for split, each in ledger.items()
    }


def _duplicates(dataset: PreparedDataset) -> str:
    found = dataset.counts.duplicates
    if not found.images:
        return "No image occurs twice."
    occur = "occurs" if found.images == 1 else "occur"
    text = f"{console.counted(found.images, 'image')} {occur} more than once"
    if not found.leaks:
        return f"{text}, not in two splits."
    leaks = ", ".join(
        f"{count:,} in {' and '.join(map(console.visible, splits.split('+')))}"
        for splits, count in found.leaks.items()
    )
    return f"{text}: {leaks}, which makes figures of the later split look better than they are."


def _at(counts: Sequence[int], label: int) -> int:
    return counts[label] if label < len(counts) else 0
