"""The messages at the end of the prepare stage."""

import math
from collections import Counter
from collections.abc import Sequence

from components.base import console
from components.data import class_names
from components.data.prepared_dataset import PreparedDataset, description
from components.ingest.rejection import Reason
from pipeline.prepare.quarantine import QUARANTINE

DUPLICATES = "duplicates.jsonl"
_MAX_CLASSES = 4  # in a message


def print_summary(
    dataset: PreparedDataset, *, first_frames: int = 0, findings: Sequence[str] = ()
) -> None:
    """Prints what was done, and warnings about the data.

    Args:
      dataset: the dataset that was published.
      first_frames: number of inputs with several frames, of which the first one was read.
      findings: the findings about the pixels, from `components.ingest.statistics`.
    """
    counts = dataset.counts
    reasons: Counter[str] = Counter()
    for split in counts.ledger.values():
        reasons.update(split["reasons"])
    quarantined = ""
    if reasons:
        listed = ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items()))
        quarantined = f", quarantined {reasons.total():,} ({listed})"
    megabytes = counts.kept * math.prod(counts.image_shape) / 1e6
    console.say(
        f"prepare: read {console.counted(counts.inputs, 'input')}, kept {counts.kept:,} "
        f"({megabytes:,.1f} MB of pixels){quarantined}"
    )
    console.say(f"prepare: {description(dataset)}")
    _warn_of_quarantine(dataset)
    _warn_of_empty_classes(dataset)
    _warn_of_leaks(dataset)
    _warn_of_frames(first_frames)
    _warn_of_alike_classes(dataset)
    for finding in findings:
        console.warn(finding)


def _warn_of_quarantine(dataset: PreparedDataset) -> None:
    counts = dataset.counts
    if counts.quarantined:
        inputs = console.counted(counts.quarantined, "input")
        console.warn(
            f"{inputs} in quarantine; {dataset.path / QUARANTINE} has the "
            "reasons; after fixing inputs, run again with --retry_quarantined, which reads only "
            "the quarantined ones"
        )
    if any(Reason.WRONG_SHAPE in split["reasons"] for split in counts.ledger.values()):
        console.warn("to convert images of other shapes, use --image_size and --channels")


def _warn_of_empty_classes(dataset: PreparedDataset) -> None:
    if empty := dataset.counts.empty_classes:
        listed = ", ".join(empty[:_MAX_CLASSES]) + (", …" if len(empty) > _MAX_CLASSES else "")
        console.warn(
            f"{len(empty):,} of {len(dataset.class_names):,} classes ({listed}) have no image, "
            f"because all of their inputs are in quarantine; {dataset.path / QUARANTINE} has the "
            "reasons; fix these inputs, or move their folders away"
        )


def _warn_of_leaks(dataset: PreparedDataset) -> None:
    leaks = dataset.counts.duplicates.leaks
    # With "drop", each of these images stays in one split only.
    if leaks and dataset.artifact.manifest.config["duplicates"] == "keep":
        listed = ", ".join(f"{count:,} in {splits}" for splits, count in leaks.items())
        console.warn(
            f"some images are in several splits ({listed}); {dataset.path / DUPLICATES} lists "
            "them; to keep one of each, use --duplicates drop"
        )


def _warn_of_alike_classes(dataset: PreparedDataset) -> None:
    if groups := class_names.alike(dataset.class_names):
        listed = "; ".join(" and ".join(map(ascii, group)) for group in groups[:3])
        console.warn(
            f"some class names differ only in the form of their characters ({listed}"
            f"{'; …' if groups[3:] else ''}), but are different classes; if that is not intended, "
            "give them one name"
        )


def _warn_of_frames(count: int) -> None:
    if count:
        console.warn(
            f"{console.counted(count, 'input')} with several frames (animated PNG or WebP, or "
            "MPO), of which only the first one was read; to use the others, save them as separate "
            "files"
        )
