"""The messages at the end of the prepare stage."""

from collections import Counter

from components.base import console
from components.data.prepared_dataset import PreparedDataset, description
from components.ingest.rejection import Reason
from pipeline.prepare.quarantine import QUARANTINE

DUPLICATES = "duplicates.jsonl"
_QUARANTINED = "quarantined_"  # Prefix of the counters.


def print_summary(dataset: PreparedDataset, counters: Counter[str]) -> None:
    """Prints what was done, and warnings about the data.

    Args:
      dataset: the dataset that was published.
      counters: the workers' counters: `read`, `kept`, `bytes` and `quarantined_REASON`.
    """
    reasons = {
        name.removeprefix(_QUARANTINED): count
        for name, count in sorted(counters.items())
        if name.startswith(_QUARANTINED)
    }
    quarantined = ""
    if reasons:
        listed = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
        quarantined = f", quarantined {sum(reasons.values()):,} ({listed})"
    console.say(
        f"prepare: read {console.counted(counters['read'], 'input')}, kept {counters['kept']:,} "
        f"({counters['bytes'] / 1e6:,.1f} MB of pixels){quarantined}"
    )
    console.say(f"prepare: {description(dataset)}")
    _warn_of_quarantine(dataset)
    _warn_of_leaks(dataset)


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


def _warn_of_leaks(dataset: PreparedDataset) -> None:
    leaks = dataset.counts.duplicates.leaks
    # With "drop", each of these images stays in one split only.
    if leaks and dataset.artifact.manifest["config"]["duplicates"] == "keep":
        listed = ", ".join(f"{count:,} in {splits}" for splits, count in leaks.items())
        console.warn(
            f"some images are in several splits ({listed}); {dataset.path / DUPLICATES} lists "
            "them; to keep one of each, use --duplicates drop"
        )
