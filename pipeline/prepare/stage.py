"""The prepare stage: from the images of any source to checked, sharded TFRecord files.

The stage is an external merge sort in Beam pipelines. The first one reads the source, slice by
slice, and leaves its examples as sorted runs on disk. After it, the images' common shape is known.
Very many runs are merged into fewer, level by level. Then the keys of all examples are compared, to
find duplicates and to count the examples of each shard. The last pipeline merges the runs into
shards.

If the stage is interrupted, the same command continues it: what a task has finished is not done
again.
"""

import functools
from collections.abc import Sequence
from typing import Any

from etils import epath

from components.base import artifacts, console, files
from components.base.errors import ConfigError, WorkError
from components.base.manifest import published_config
from components.data.dataset_counts import DatasetCounts
from components.data.prepared_dataset import PreparedDataset
from components.ingest.sorted_runs import SortedRun
from components.sources import dataset_names, registry
from components.sources.folder import FolderSource
from components.sources.source import Source
from pipeline.beam import handshake, worker_pool
from pipeline.prepare import (
    completeness,
    counts,
    deduplication,
    execution,
    quarantine,
    read_plan,
    shard_plan,
    sidecars,
    summary,
)
from pipeline.prepare.assignment import Assignment
from pipeline.prepare.config import PrepareConfig
from pipeline.prepare.messages import ShardFormat, SliceSummary
from pipeline.prepare.read_plan import ReadPlan
from pipeline.prepare.shard_plan import ShardPlan
from pipeline.prepare.summary import DUPLICATES


def prepare(
    config: PrepareConfig,
    *,
    output: epath.PathLike,
    overwrite: bool = False,
    verify: bool = False,
    retry_quarantined: bool = False,
    for_model: bool = False,
    beam_args: Sequence[str] = (),
) -> PreparedDataset:
    """Prepares a dataset, unless it is up to date.

    Args:
      config: the dataset and how to prepare it.
      output: directory to publish the prepared dataset in.
      overwrite: whether to replace another or a damaged artifact in `output`.
      verify: whether to read all files of an artifact that is up to date, to check their content.
      retry_quarantined: whether to read the inputs in the quarantine of `output` again. The result
        equals that of preparing everything again.
      for_model: whether the dataset is only the input of a trained model: a split may have no
        images, and the caller says what became of the inputs.
      beam_args: options of Beam.

    Raises:
      ConfigError: there is no such dataset; `output` holds something else, or nothing to retry; a
        job service or its workers cannot do the work.
      WorkError: the dataset is not available or damaged, a split or most images would be missing,
        or there are duplicates and `config` forbids them.
    """
    source, notes = registry.open_source(config.request(_dataset_name(config, output, overwrite)))
    for note in notes:
        console.warn(note)
    _check_outside(source, epath.Path(output))
    plan = _artifact_plan(config, source, output)
    retry = None
    if retry_quarantined:
        retry = read_plan.plan_retry(
            plan, source, validation_from_train=_validation_from_train(config, source)
        )
    if retry is None and plan.is_up_to_date(overwrite=overwrite, verify=verify):
        return _open_up_to_date(output)
    handshake.check_workers(beam_args)
    if worker_pool.can_use_pool(beam_args):
        worker_pool.start_server()
    reads = retry or read_plan.plan_all(source)
    num_inputs = console.counted(reads.max_source_inputs, "input")
    outline = registry.outline(source)
    if outline:
        console.say(f"prepare: the folders of {source.name}", *outline)
    again = " again, and the examples that were kept" if retry else ""
    console.say(f"prepare: reading {num_inputs} of {source.name}{again}")
    directory = plan.rebuild_directory if retry else plan.draft_directory
    work_dir = execution.work_directory(directory, reads.work_key(plan))
    continues = work_dir.is_dir()
    with plan.publish(resume=continues, overwrite=overwrite, rebuild=retry is not None) as draft:
        if continues:
            console.say("prepare: continuing the work of an earlier run")
        dataset_counts, first_frames, findings = _write_artifact(
            draft,
            work_dir,
            config,
            source,
            reads,
            needs_splits=not for_model,
            outline=outline,
            beam_args=beam_args,
        )
        draft.counts = dataset_counts.as_json()
        draft.notes = notes
    dataset = PreparedDataset.open(output)
    if not for_model:
        summary.print_summary(dataset, first_frames=first_frames, findings=findings)
    return dataset


def _dataset_name(config: PrepareConfig, output: epath.PathLike, overwrite: bool) -> str:
    """The dataset to prepare.

    `auto` keeps the choice that it made when `output` was published.
    """
    if config.dataset != dataset_names.AUTO or overwrite:
        return config.dataset
    published = published_config(output).get("dataset")
    return published if published in dataset_names.AUTO_CHOICES else config.dataset


def _check_outside(source: Source, output: epath.Path) -> None:
    """Raises ConfigError if the output would become part of a folder that is read as images.

    It may do so through a link in that folder.
    """
    if not isinstance(source, FolderSource):
        return
    for folder in source.folders:
        if files.contains(folder, output) or files.contains(output, folder):
            raise ConfigError(
                f"the output directory {output} is inside the dataset {source.path} (its folder "
                f"{folder} leads there): another run would read its contact sheets as images; "
                "choose an output directory outside the dataset"
            )


def _validation_from_train(config: PrepareConfig, source: Source) -> bool:
    """Whether the validation split is taken from train; a source's own split takes precedence."""
    return "validation" not in source.num_examples and config.validation_fraction > 0


def _artifact_plan(
    config: PrepareConfig, source: Source, output: epath.PathLike
) -> artifacts.ArtifactPlan:
    return artifacts.ArtifactPlan(
        stage="prepare",
        directory=epath.Path(output),
        config={
            "dataset": source.name,
            **source.settings,
            "validation_fraction": config.validation_fraction,
            "shard_bytes": config.shard_bytes,
            "duplicates": config.duplicates,
        },
        inputs={"source": source.input},
    )


def _open_up_to_date(output: epath.PathLike) -> PreparedDataset:
    dataset = PreparedDataset.open(output)
    for note in dataset.artifact.manifest.notes:
        console.warn(note)
    console.say(f"prepare: up to date ({output})")
    return dataset


def _write_artifact(
    draft: artifacts.Draft,
    work_dir: epath.Path,
    config: PrepareConfig,
    source: Source,
    reads: ReadPlan,
    *,
    needs_splits: bool,
    outline: Sequence[str],
    beam_args: Sequence[str],
) -> tuple[DatasetCounts, int, list[str]]:
    """Writes the files of a prepared dataset to a draft.

    Returns:
      The counts for the manifest, the number of inputs with several frames, and what is remarkable
      about the pixels.
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
            shards = _plan_shards(
                *(config, source, read, runs, work_dir), needs_splits=needs_splits, options=options
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


def _plan_shards(
    config: PrepareConfig,
    source: Source,
    slices: Sequence[SliceSummary],
    runs: Sequence[SortedRun],
    work_dir: epath.Path,
    *,
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
      needs_splits: whether every split needs images.
      options: the options of `execution.beam_options`.

    Raises:
      WorkError: a split would be missing, or there are duplicates and `config` forbids them.
    """
    from_train = _validation_from_train(config, source)
    validation_fraction = config.validation_fraction if from_train else 0.0
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
