"""The prepare stage: from the images of any source to checked, sharded TFRecord files.

If the stage is interrupted, the same command continues it: a task whose report exists is not run
again (`reports`). `build` says how the files are made.
"""

from collections.abc import Sequence

from etils import epath

from components.base import artifacts, console, files
from components.base.errors import ConfigError
from components.base.manifest import published_config
from components.data.prepared_dataset import PreparedDataset
from components.sources import dataset_names, registry
from components.sources.folder import FolderSource
from components.sources.source import Source
from pipeline.beam import handshake, worker_pool
from pipeline.prepare import (
    build,
    execution,
    read_plan,
    summary,
)
from pipeline.prepare.config import PrepareConfig


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
        images, and the caller reports which inputs could not be used.
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
        from_train = _validation_fraction(config, source) > 0
        retry = read_plan.plan_retry(plan, source, validation_from_train=from_train)
    if retry is None and plan.is_up_to_date(overwrite=overwrite, verify=verify):
        return _open_up_to_date(output)
    plan.check_unfinished(overwrite=overwrite, rebuild=retry is not None)
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
        dataset_counts, first_frames, findings = build.build(
            draft,
            work_dir,
            config,
            source,
            reads,
            validation_fraction=_validation_fraction(config, source),
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


def _validation_fraction(config: PrepareConfig, source: Source) -> float:
    """The fraction of train that becomes validation: none if the source has a validation split."""
    return 0.0 if "validation" in source.num_examples else config.validation_fraction


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
