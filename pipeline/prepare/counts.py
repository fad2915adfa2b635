"""The counts in the manifest of a prepared dataset, and the check that no input was lost."""

import collections
from collections.abc import Iterable, Sequence

import numpy as np

from components.base.errors import WorkError
from components.base.shapes import Shape
from components.data.dataset_counts import DatasetCounts, DuplicateCounts, ShardCount
from components.data.examples import SPLITS
from components.ingest import ledger
from components.ingest.ledger import InputTally
from components.sources.source import Source
from pipeline.prepare.messages import WriteReport


def add_up(
    source: Source,
    *,
    inputs: dict[str, InputTally],
    written: Sequence[WriteReport],
    quarantined: Iterable[tuple[str, InputTally]],
    image_shape: Shape,
    duplicates: DuplicateCounts,
    rest: str,
    outline: Sequence[str],
) -> DatasetCounts:
    """Adds up the workers' reports.

    Args:
      source: the source.
      inputs: the tally of all inputs, by split of the source; empty for any other split.
      written: the reports of all shards.
      quarantined: tallies of the inputs in quarantine, each with the source's split.
      image_shape: (height, width, channels) of every image.
      duplicates: the number of images that occur more than once.
      rest: digest of the inputs that are not in quarantine.
      outline: how the source was understood, in lines for people.

    Raises:
      WorkError: the number of inputs is not the one that the source declares, or an input is
        neither in a shard nor in quarantine.
    """
    kept = _total_by_split((report.source_split, report.kept) for report in written)
    set_aside = _total_by_split(quarantined)
    _check_num_inputs(source, inputs)
    reports_by_split = {
        split: reports
        for split in SPLITS
        if (reports := [report for report in written if report.split == split])
    }
    return DatasetCounts(
        inputs=sum(tally.total for tally in inputs.values()),
        kept=sum(tally.total for tally in kept.values()),
        quarantined=sum(tally.total for tally in set_aside.values()),
        ledger=ledger.reconcile(inputs, kept, set_aside, class_names=source.class_names),
        image_shape=image_shape,
        class_names=source.class_names,
        examples={
            split: sum(report.kept.total for report in reports)
            for split, reports in reports_by_split.items()
        },
        examples_by_label={
            split: np.sum([report.statistics.labels for report in reports], axis=0).tolist()
            for split, reports in reports_by_split.items()
        },
        shards={
            split: [ShardCount(report.file, report.kept.total) for report in reports]
            for split, reports in reports_by_split.items()
        },
        duplicates=duplicates,
        rest=rest,
        outline=list(outline),
    )


def _total_by_split(tallies: Iterable[tuple[str, InputTally]]) -> dict[str, InputTally]:
    """The sums of the tallies of each split; an empty tally for any other split."""
    totals: dict[str, InputTally] = collections.defaultdict(InputTally)
    for split, tally in tallies:
        totals[split] += tally
    return totals


def _check_num_inputs(source: Source, inputs: dict[str, InputTally]) -> None:
    for split, declared in source.num_examples.items():
        if inputs[split].total != declared:
            raise WorkError(
                f"{source.name} declares {declared:,} inputs in {split}, but "
                f"{inputs[split].total:,} were read; if it changed in the meantime, run the same "
                "command again"
            )
