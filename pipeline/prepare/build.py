"""Builds the files of a prepared dataset: an external merge sort in Beam pipelines.

The first pipeline reads the source, slice by slice, and writes its examples as sorted runs. After
it, the images' common shape is known. Very many runs are merged into fewer, level by level
(`merge_plan`). Then the keys of all examples are compared, to find duplicates and to count the
examples of each shard (`deduplication`). The last pipeline merges the runs into shards (`workers`).
"""

import functools
from collections.abc import Sequence
from typing import Any

from etils import epath

from components.base import artifacts
from components.base.errors import WorkError
from components.data.dataset_counts import DatasetCounts
from components.ingest.sorted_runs import SortedRun
from components.sources.source import Source
from pipeline.prepare import (
    completeness,
    counts,
    deduplication,
    execution,
    quarantine,
    shard_plan,
    sidecars,
)
from pipeline.prepare.assignment import Assignment
from pipeline.prepare.config import PrepareConfig
from pipeline.prepare.messages import ShardFormat, SliceSummary
from pipeline.prepare.read_plan import ReadPlan
from pipeline.prepare.shard_plan import ShardPlan
from pipeline.prepare.summary import DUPLICATES


def build(
    draft: artifacts.Draft,
    work_dir: epath.Path,
    config: PrepareConfig,
    source: Source,
    reads: ReadPlan,
    *,
    validation_fraction: float,
    needs_splits: bool,
    outline: Sequence[str],
    beam_args: Sequence[str],
) -> tuple[DatasetCounts, int, list[str]]:
    """Writes the files of a prepared dataset to a draft.

    Args:
      draft: the draft.
      work_dir: directory for the sorted runs and reports; what an interrupted run left in it is
        not done again.
      config: the settings.
      source: the source that the user named.
      reads: what to read.
      validation_fraction: fraction of train that becomes the validation split.
      needs_splits: whether every split needs images.
      outline: how the source was understood, in lines for people.
      beam_args: options of Beam.

    Returns:
      The counts for the manifest, the number of inputs with several frames, and the findings
      about the pixels.

    Raises:
      WorkError: a file of the source is damaged, a split or most images would be missing, or there
        are duplicates and `config` forbids them.
    """
    directory = draft.path
    execution.open_work(work_dir)
    with execution.beam_options(reads, beam_args) as options:
        read, inputs, first_frames = execution.read_slices(reads, work_dir, options)
        with execution.removed_after_user_errors(work_dir):
            shape = completeness.common_shape(source, read, work_dir)
        runs = [run for report in read for run in report.runs if run.shape == shape]
        runs = execution.merged(runs, work_dir, options)
        with execution.removed_after_user_errors(work_dir):
            shards = plan_shards(
                *(config, source, read, runs, work_dir),
                validation_fraction=validation_fraction,
                needs_splits=needs_splits,
                options=options,
            )
        written, set_aside = execution.write_shards(
            [*shards.tasks, *quarantine.tasks(read, shape)],
            ShardFormat(shape, len(source.class_names), shards.ranges),
            work_dir,
            directory,
            options,
        )
    with execution.removed_after_user_errors(work_dir):
        quarantine.write(set_aside, shards.ranges, work_dir, directory)
        dataset_counts = counts.add_up(
            source,
            inputs=inputs,
            written=written,
            quarantined=[
                *((report.split, report.quarantined) for report in set_aside),
                *shards.rejected.items(),
            ],
            image_shape=shape,
            duplicates=shards.duplicates,
            rest=source.fingerprint_without(quarantine.read_ids(directory)),
            outline=outline,
        )
    deduplication.write_groups(directory / DUPLICATES, shards.ranges, work_dir)
    findings = sidecars.write_sidecars(directory, source.name, dataset_counts, written)
    draft.outputs = {report.file: report.output for report in written}
    execution.close_work(work_dir)
    return dataset_counts, first_frames, findings


def plan_shards(
    config: PrepareConfig,
    source: Source,
    slices: Sequence[SliceSummary],
    runs: Sequence[SortedRun],
    work_dir: epath.Path,
    *,
    validation_fraction: float,
    needs_splits: bool,
    options: dict[str, Any],
) -> ShardPlan:
    """Plans the shards.

    Args:
      config: the settings.
      source: the source.
      slices: what was read of all slices.
      runs: the sorted runs of images of the dataset's shape.
      work_dir: the work directory.
      validation_fraction: fraction of train that becomes the validation split.
      needs_splits: whether every split needs images.
      options: the options of `execution.beam_options`.

    Raises:
      WorkError: a split would be missing, or there are duplicates and `config` forbids them.
    """
    shards = shard_plan.plan_shards(
        runs,
        work_dir,
        assignment=Assignment(validation_fraction, config.shard_bytes),
        drop_duplicates=config.duplicates == "drop",
        dataset=source.name,
        run_ranges=functools.partial(execution.compare, options=options),
    )
    if shards.first and config.duplicates == "error":
        first = " = ".join(f"{image['id']} ({image['split']})" for image in shards.first)
        raise WorkError(
            f"{source.name} has {shards.duplicates.images:,} images more than once; the first is "
            f"{first}; use --duplicates keep to list them all, or drop to keep one of each"
        )
    if needs_splits:
        completeness.check_splits(
            source,
            slices,
            shards,
            shape=runs[0].shape,
            validation_fraction=validation_fraction,
            work_dir=work_dir,
        )
    return shards
