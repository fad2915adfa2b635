"""Checks that no split, and not most of the images, would be missing from a prepared dataset."""

import itertools
from collections.abc import Iterator, Sequence

from etils import epath

from components.base import json_lines
from components.base.errors import WorkError
from components.base.shapes import Shape, format_shape
from components.ingest.rejection import Reason
from components.sources.source import Source
from pipeline.prepare import deduplication, rejections, shard_plan
from pipeline.prepare.messages import SliceSummary
from pipeline.prepare.shard_plan import ShardPlan


def common_shape(source: Source, slices: Sequence[SliceSummary], work_dir: epath.Path) -> Shape:
    """The shape of the images of the dataset, which at least half of the decoded images have.

    Args:
      source: the source.
      slices: the summaries of all slices.
      work_dir: directory of the rejected inputs.

    Returns:
      (height, width, channels).

    Raises:
      WorkError: there is no image, or most images have other shapes.
    """
    shape = shard_plan.common_shape(slices)
    if shape is None:
        raise _no_usable_image(source, slices, work_dir)
    check_common_shape(source.name, slices, shape)
    return shape


def _no_usable_image(
    source: Source, slices: Sequence[SliceSummary], work_dir: epath.Path
) -> WorkError:
    rejected = (
        item for summary in slices for item in rejections.rejected_inputs(summary.number, work_dir)
    )
    if (first := next(rejected, None)) is None:
        return WorkError(f"{source.name} is empty; choose a dataset with images")
    num_inputs = sum(summary.num_inputs for summary in slices)
    return WorkError(
        f"no usable image in {source.name}: all {num_inputs:,} inputs were rejected, the first "
        f"({first.id}) because: {first.detail}"
    )


def check_common_shape(dataset: str, slices: Sequence[SliceSummary], shape: Shape) -> None:
    """Checks that at least half of the decoded images have the dataset's shape.

    Args:
      dataset: name of the dataset.
      slices: the summaries of all slices.
      shape: (height, width, channels), the most common shape.

    Raises:
      WorkError: they do not; names the options that convert the others.
    """
    runs = [run for summary in slices for run in summary.runs]
    kept = sum(run.rows for run in runs if run.shape == shape)
    # Images with alpha are rejected for their channels before their shapes are compared.
    rejected = sum(summary.rejected.by_reason[Reason.WRONG_SHAPE] for summary in slices)
    total = sum(run.rows for run in runs) + rejected
    if 2 * kept >= total:
        return
    options = []
    if any(run.shape[:2] != shape[:2] for run in runs):
        options.append("--image_size")
    if rejected or any(run.shape[2] != shape[2] for run in runs):
        options.append("--channels")
    raise WorkError(
        f"only {kept:,} of {total:,} images of {dataset} have the most common shape, "
        f"{format_shape(shape)}, and all others would be set aside; convert all images to one "
        f"shape with {' and '.join(options)}"
    )


def check_splits(
    source: Source,
    slices: Sequence[SliceSummary],
    shards: ShardPlan,
    *,
    shape: Shape,
    validation_fraction: float,
    work_dir: epath.Path,
) -> None:
    """Checks that every split of the source has images in a shard, and that train has.

    Args:
      source: the source.
      slices: the summaries of all slices.
      shards: the plan of the shards.
      shape: (height, width, channels) of every image in the dataset.
      validation_fraction: fraction of train that becomes the validation split.
      work_dir: directory of the rejected inputs.

    Raises:
      WorkError: a split would be empty; says why and what to do.
    """
    for split in source.num_examples:
        if not any(task.source_split == split for task in shards.tasks):
            raise _empty_split(source.name, split, slices, shards, shape, work_dir)
    if any(task.split == "train" for task in shards.tasks):
        return
    if "train" not in source.num_examples:
        raise WorkError(
            f"{source.name} has no training images, only {', '.join(source.num_examples)}; name "
            "the folder, file or array of the images to train on train"
        )
    raise WorkError(
        f"all usable images of train in {source.name} would become the validation split, since it "
        f"gets a fraction of {validation_fraction} by the hashes of their ids; use "
        "--validation_fraction 0, or more images"
    )


def _empty_split(
    dataset: str,
    split: str,
    slices: Sequence[SliceSummary],
    shards: ShardPlan,
    shape: Shape,
    work_dir: epath.Path,
) -> WorkError:
    """The error for a split of the source that has no image in a shard."""
    slices = [summary for summary in slices if summary.split == split]
    num_inputs = sum(summary.num_inputs for summary in slices)
    if not num_inputs:
        return WorkError(
            f"the split {split} of {dataset} is empty; add images to it, or remove it from the "
            "dataset"
        )
    reason = next(_reasons(split, slices, shards, shape, work_dir), "")
    return WorkError(
        f"the split {split} of {dataset} would be empty: all {num_inputs:,} inputs are set aside, "
        f"{reason}; fix them, or remove the split from the dataset"
    )


def _reasons(
    split: str,
    slices: Sequence[SliceSummary],
    shards: ShardPlan,
    shape: Shape,
    work_dir: epath.Path,
) -> Iterator[str]:
    """Yields the reasons why inputs of a split are set aside."""
    rejected = itertools.chain.from_iterable(
        rejections.rejected_inputs(summary.number, work_dir) for summary in slices
    )
    for item in rejected:
        yield f"the first ({item.id}) because: {item.detail}"
    for run in itertools.chain.from_iterable(summary.runs for summary in slices):
        if run.shape != shape:
            yield (
                f"because they have the shape {format_shape(run.shape)} and most images "
                f"{format_shape(shape)}, see --image_size and --channels"
            )
    for path in deduplication.rejected_files(shards.ranges, work_dir):
        for row in json_lines.read(path):
            if row["split"] == split:
                yield f"the first ({row['id']}) because: {row['detail']}"
