"""The prepare stage: images of any source to checked, sharded TFRecords, with Beam.

Two pipelines with a plan between them. The first reads the source, slice by slice, and leaves what
it read as sorted runs on disk. Then it is known which shape the images have, which of them are
duplicates, and how many shards there will be. The second gathers the shards from the runs.
"""

import collections
import contextlib
import itertools
import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from etils import epath

from components.base import artifacts, console
from components.base.errors import UserError, WorkError
from components.base.shapes import Shape
from components.data.examples import SPLITS
from components.data.prepared_dataset import PreparedDataset, description
from components.ingest import ledger
from components.ingest.ledger import Account, Reason
from components.sources import dataset_names, registry
from components.sources.source import Source
from pipeline.beam import worker_pool
from pipeline.prepare import progress, read_plan, shard_plan, workers
from pipeline.prepare.config import PrepareConfig
from pipeline.prepare.messages import (
    QuarantineReport,
    QuarantineTask,
    ReadReport,
    ShardInputs,
    WriteReport,
)
from pipeline.prepare.read_plan import QUARANTINE, ReadPlan
from pipeline.prepare.sidecars import describe

DUPLICATES = "duplicates.jsonl"
_INPUTS_WORTH_WORKERS = 1000
_SLICES_WORTH_WORKERS = 5

Report = TypeVar("Report")


def prepare(
    config: PrepareConfig,
    *,
    output: epath.PathLike,
    overwrite: bool = False,
    retry_quarantined: bool = False,
    beam_args: Sequence[str] = (),
) -> PreparedDataset:
    """Prepares `config.dataset` in `output`, unless that is up to date already.

    With `retry_quarantined` only those inputs are read that were set aside when `output` was made;
    the result is what preparing all of it again would give.

    Raises:
      ConfigError: no such dataset; `output` holds something else, or nothing that can be retried.
      WorkError: the dataset cannot be had, is damaged, no image of it can be used, or it has
        duplicates where `config` allows none.
    """
    asked = config.dataset if overwrite else _dataset(config.dataset, output)
    source, notes = registry.resolve(config.request(asked))
    for note in notes:
        console.warn(note)
    planned = artifacts.ArtifactPlan(
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
    retry = (
        read_plan.quarantined(planned, source, is_validation_cut=_cuts_validation(source, config))
        if retry_quarantined
        else None
    )
    if retry is None and planned.is_done(overwrite=overwrite):
        standing = PreparedDataset.open(output)
        for note in standing.artifact.manifest["notes"]:
            console.warn(note)
        console.say(f"prepare: up to date ({output})")
        return standing
    if worker_pool.serves(beam_args):
        worker_pool.start_server()
    what = retry or read_plan.everything(source)
    again = "" if retry is None else " again, beside what was kept of it"
    console.say(f"prepare: reading {_counted(what.num_asked)} of {source.name}{again}")
    with planned.publish(overwrite=overwrite, renew=retry is not None) as draft:
        draft.counts, counters = _run(source, config, what, draft.path, beam_args)
        draft.notes = notes
    prepared = PreparedDataset.open(output)
    _summarize(prepared, counters)
    return prepared


def _dataset(asked: str, output: epath.PathLike) -> str:
    """The dataset to prepare: `auto` stays with what it was when `output` was made."""
    standing = artifacts.published_config(output).get("dataset")
    return (
        standing
        if asked == dataset_names.AUTO and standing in dataset_names.AUTO_CHOICES
        else asked
    )


def _cuts_validation(source: Source, config: PrepareConfig) -> bool:
    """Whether validation is cut out of train; one of the source's own is left as it is."""
    return "validation" not in source.num_examples and config.validation_fraction > 0


def _run(
    source: Source,
    config: PrepareConfig,
    what: ReadPlan,
    directory: epath.Path,
    beam_args: Sequence[str],
) -> tuple[dict[str, Any], Counter[str]]:
    """Writes all files of the stage; returns the manifest's counts, and Beam's counters."""
    # Of its own name, so that what a lost worker of an earlier call still writes is not met.
    scratch = directory / f"work-{uuid.uuid4().hex}"
    try:
        for name in (workers.READ, workers.WRITTEN, workers.QUARANTINED):
            (scratch / name).mkdir(parents=True)
        with contextlib.ExitStack() as stack:
            if worker_pool.serves(beam_args) and _is_worth_workers(what):
                stack.enter_context(worker_pool.workers(len(what.tasks)))
            with progress.shown(scratch / workers.READ, what.num_inputs, "reading", _count_read):
                counters = _do(
                    what.tasks, workers.read_slice, what.sources, scratch, beam_args=beam_args
                )
            reports = _reports(scratch / workers.READ, ReadReport.from_json)
            material, layout = _lay_out(source, config, reports, scratch)
            tasks = [*layout.tasks, *_quarantine_tasks(reports, layout, material.shape)]
            num_kept = sum(task.examples for task in layout.tasks)
            with progress.shown(scratch / workers.WRITTEN, num_kept, "writing", _count_written):
                counters += _do(
                    tasks, workers.write, material, scratch, directory, beam_args=beam_args
                )
        written = _reports(scratch / workers.WRITTEN, WriteReport.from_json)
        quarantined = _reports(scratch / workers.QUARANTINED, QuarantineReport.from_json)
        counts = _counts(source, reports, written, quarantined, material.shape)
        _list_quarantine(quarantined, scratch, directory)
    except UserError:
        scratch.rmtree()  # As large as the dataset, and of no more use.
        raise
    scratch.rmtree()
    workers.write_lines(directory / DUPLICATES, layout.duplicates)
    counts["duplicates"] = _count_duplicates(layout.duplicates)
    ids = {row["id"] for row in workers.read_lines(directory / QUARANTINE)}
    counts["rest"] = source.fingerprint_without(ids)
    describe(source, written, counts, directory)
    return counts, counters


def _is_worth_workers(what: ReadPlan) -> bool:
    """Whether one process would not be done before others have begun."""
    return len(what.tasks) > 1 and (
        what.num_inputs >= _INPUTS_WORTH_WORKERS or len(what.tasks) >= _SLICES_WORTH_WORKERS
    )


def _do(
    tasks: Sequence[Any],
    function: Callable[..., Mapping[str, int]],
    *arguments: Any,
    beam_args: Sequence[str],
) -> Counter[str]:
    """Has Beam call `function(task, *arguments)` for each task; returns its counters."""
    import apache_beam as beam

    from pipeline.beam import launch, transforms

    with launch.pipeline(beam_args) as p:
        _ = p | beam.Create(tasks) | beam.ParDo(transforms.RunTask(function, *arguments))
    return launch.counters(p, transforms.COUNTERS)


def _reports(directory: epath.Path, from_json: Callable[[Any], Report]) -> list[Report]:
    """What the workers reported, in an order that does not depend on theirs."""
    return [from_json(json.loads(path.read_text())) for path in sorted(directory.glob("*.json"))]


def _count_read(report: Any) -> dict[str, int]:
    read, rejected = (Account.from_json(report[name]).total for name in ("inputs", "rejected"))
    return {"images": read, "kept": read - rejected, "quarantined": rejected}


def _count_written(report: Any) -> dict[str, int]:
    return {"images": Account.from_json(report["kept"]).total, "shards": 1}


def _nothing_usable(source: Source, reports: list[ReadReport], scratch: epath.Path) -> WorkError:
    first = next((row for r in reports for row in workers.rejected(r.number, scratch)), None)
    inputs = sum(report.inputs.total for report in reports)
    return WorkError(
        f"no usable image in {source.name}: all {inputs:,} inputs were rejected, the first "
        f"({first.id}) because: {first.detail}"
        if first
        else f"{source.name} is empty; name a dataset with images"
    )


def _lay_out(
    source: Source,
    config: PrepareConfig,
    reports: list[ReadReport],
    scratch: epath.Path,
) -> tuple[ShardInputs, shard_plan.ShardPlan]:
    """Plans the shards.

    Raises:
      WorkError: no image can be used, or there are duplicates and `config` allows none.
    """
    shape = shard_plan.common_shape(reports)
    if shape is None:
        raise _nothing_usable(source, reports, scratch)
    fraction = config.validation_fraction if _cuts_validation(source, config) else 0.0
    members = [run for report in reports for run in report.runs if run.shape == shape]
    layout = shard_plan.plan_shards(
        members,
        scratch,
        assignment=shard_plan.Assignment(fraction, config.shard_bytes),
        drop_duplicates=config.duplicates == "drop",
        dataset=source.name,
    )
    if layout.duplicates and config.duplicates == "error":
        raise WorkError(
            f"{source.name} has {len(layout.duplicates):,} images more than once, the first: "
            f"{_same(layout.duplicates[0])}; --duplicates keep lists them all, "
            "and drop keeps one of each"
        )
    return ShardInputs(members, layout.dropped, len(source.class_names)), layout


def _quarantine_tasks(
    reports: list[ReadReport], layout: shard_plan.ShardPlan, shape: Shape
) -> Iterator[QuarantineTask]:
    duplicates = collections.defaultdict(list)
    for number, item in layout.rejected:
        duplicates[number].append(item)
    for report in reports:
        others = [run for run in report.runs if run.shape != shape]
        if others or duplicates[report.number] or report.rejected.total:
            yield QuarantineTask(report.number, report.split, others, duplicates[report.number])


def _counts(
    source: Source,
    reports: list[ReadReport],
    written: list[WriteReport],
    quarantined: list[QuarantineReport],
    shape: Shape,
) -> dict[str, Any]:
    """The manifest's counts. Raises WorkError where the ledger does not add up."""
    inputs: dict[str, Account] = collections.defaultdict(Account)
    kept: dict[str, Account] = collections.defaultdict(Account)
    set_aside: dict[str, Account] = collections.defaultdict(Account)
    for report in reports:
        inputs[report.split] += report.inputs
    for shard in written:
        kept[shard.source_split] += shard.kept
    for part in quarantined:
        set_aside[part.split] += part.quarantined
    for split, examples in source.num_examples.items():
        if inputs[split].total != examples:
            raise WorkError(
                f"{source.name} says that {split} has {examples:,} inputs, {inputs[split].total:,} "
                "were read; it changed meanwhile: prepare it again"
            )
    shards = {
        split: [shard for shard in written if shard.split == split]
        for split in SPLITS
        if any(shard.split == split for shard in written)
    }
    return {
        "inputs": sum(account.total for account in inputs.values()),
        "kept": sum(account.total for account in kept.values()),
        "quarantined": sum(account.total for account in set_aside.values()),
        "ledger": ledger.reconcile(inputs, kept, set_aside, class_names=source.class_names),
        "image_shape": list(shape),
        "class_names": source.class_names,
        "examples": {split: sum(s.kept.total for s in each) for split, each in shards.items()},
        "examples_by_label": {
            split: np.stack([s.statistics.labels for s in each]).sum(axis=0).tolist()
            for split, each in shards.items()
        },
        "shards": {
            split: [{"file": s.file, "examples": s.kept.total} for s in each]
            for split, each in shards.items()
        },
    }


def _list_quarantine(
    quarantined: list[QuarantineReport], scratch: epath.Path, directory: epath.Path
) -> None:
    """Joins the slices' parts of the quarantine, in an order that slices do not change."""
    parts = (scratch / workers.QUARANTINED / f"{part.number:06d}.jsonl" for part in quarantined)
    rows = itertools.chain.from_iterable(map(workers.read_lines, parts))
    (directory / QUARANTINE).parent.mkdir()
    ordered = sorted(rows, key=lambda row: (row["split"], row["id"], row["reason"], row["detail"]))
    workers.write_lines(directory / QUARANTINE, ordered)


def _count_duplicates(groups: list[list[dict[str, str]]]) -> dict[str, Any]:
    """How many images occur more than once, and in how many splits."""
    across = collections.Counter(
        "+".join(split for split in SPLITS if any(each["split"] == split for each in group))
        for group in groups
    )
    return {"images": len(groups), "by_splits": dict(sorted(across.items()))}


def _same(group: list[dict[str, str]]) -> str:
    return " = ".join(f"{each['id']} ({each['split']})" for each in group[:3])


def _counted(count: int) -> str:
    return f"{count:,} input{'' if count == 1 else 's'}"


def _summarize(prepared: PreparedDataset, counters: Counter[str]) -> None:
    counts = prepared.artifact.manifest["counts"]
    reasons = [name for name in counters if name.startswith("quarantined_")]
    counted = {"read": counters["read"], "kept": counters["kept"]} | {
        name.replace("_", " ", 1): counters[name] for name in sorted(reasons)
    }
    listed = ", ".join(f"{name} {count:,}" for name, count in counted.items())
    console.say(f"prepare: {listed}, {counters['bytes'] / 1e6:,.1f} MB of pixels")
    console.say(f"prepare: {description(prepared)}")
    if counts["quarantined"]:
        console.warn(
            f"set aside: {_counted(counts['quarantined'])}, for the reasons in "
            f"{prepared.path / QUARANTINE}; once mended, --retry_quarantined reads them again"
        )
    if any(Reason.WRONG_SHAPE in split["reasons"] for split in counts["ledger"].values()):
        console.warn("images of other shapes can be converted: --image_size, --channels")
    leaks = {s: n for s, n in counts["duplicates"]["by_splits"].items() if "+" in s}
    if leaks and prepared.artifact.manifest["config"]["duplicates"] == "keep":
        listed = ", ".join(f"{count:,} in {splits}" for splits, count in leaks.items())
        console.warn(
            f"the same images are in several splits ({listed}): {prepared.path / DUPLICATES}; "
            "--duplicates drop keeps one of each"
        )
