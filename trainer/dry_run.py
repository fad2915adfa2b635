"""Describes what a run would need, without training, reading images or writing files."""

import contextlib
import dataclasses
import math
import os
from collections.abc import Iterator

from components.base import memory
from components.base.arithmetic import ceil_div
from components.base.console import counted
from components.data.batches import Batches
from components.data.image_store import StreamedImages, cache_limit
from components.data.prepared_dataset import PreparedDataset
from components.model import costs
from trainer import build, memory_check, precision_choice
from trainer.build import HELDOUT_SPLIT, TRAIN_SPLIT, TrainingRun
from trainer.config import RunOptions, TrainConfig
from trainer.devices.hosts import host

_LABEL_WIDTH = 14


def describe(config: TrainConfig, options: RunOptions, examples: PreparedDataset) -> str:
    """The devices, costs, batches, data and schedules of a run, one per line.

    Raises:
      ConfigError: as training would.
    """
    num_hosts = host().count
    with _without_tf_config():
        devices = build.devices_for(config, examples)
        devices = precision_choice.with_precision(devices, config, examples)
        # Streamed, since images in memory would be read at once.
        store = StreamedImages(examples, TRAIN_SPLIT)
        batches = Batches(store, batch_size=config.batch_size, seed=config.seed)
        classes = config.classes(examples.class_names)
        run = build.build_run_on(devices, config, batches, classes=classes)
    batches.close()
    replicas = num_hosts * len(run.devices.kinds)
    step_config = run.loop.step_config
    compiled = "compiled by XLA" if step_config.compiled else "not compiled by XLA"
    lines = {
        "devices": _devices(run, num_hosts),
        "precision": f"{_precision(run)}, {compiled}",
        "parts": _parts(config),
        **_costs(run, replicas),
        **_batches(run, replicas),
        "data": _data(options, examples),
        "held out": _heldout(config, examples),
        "objective": step_config.objective.description,
        "learning rate": f"{config.optimizer}, {step_config.update.learning_rate.description}",
        "warm-up": _warmup(run),
        "beta": step_config.beta.description,
    }
    return "\n".join(f"{label:{_LABEL_WIDTH}} {text}" for label, text in lines.items())


@contextlib.contextmanager
def _without_tf_config() -> Iterator[None]:
    """Hides TF_CONFIG: a strategy over several hosts would wait for the other hosts."""
    tf_config = os.environ.pop("TF_CONFIG", None)
    try:
        yield
    finally:
        if tf_config is not None:
            os.environ["TF_CONFIG"] = tf_config


def _parts(config: TrainConfig) -> str:
    parts = f"{config.likelihood} likelihood, {config.head} head, {config.prior} prior"
    return parts if config.linear_path == "none" else f"{parts}, {config.linear_path} linear path"


def _devices(run: TrainingRun, num_hosts: int) -> str:
    devices = f"{len(run.devices.kinds)} x {run.devices.kinds[0]}"
    return devices if num_hosts == 1 else f"{num_hosts} hosts with {devices} each"


def _precision(run: TrainingRun) -> str:
    measured = run.devices.measured
    why = "" if measured is None else f" (a step takes {precision_choice.describe(measured)})"
    return f"{run.devices.precision}{why}"


def _costs(run: TrainingRun, replicas: int) -> dict[str, str]:
    config, step_config = run.config, run.loop.step_config
    classes = run.model.architecture.classes
    given = f", given one of {classes:,} labels" if classes else ""
    model_costs = memory_check.planned_costs(config, run.batches.image_shape, classes=classes)
    replica_memory = memory_check.replica_memory(
        model_costs,
        config,
        replicas=replicas,
        precision=run.devices.precision,
        steps_per_call=step_config.steps_per_call,
        image_shape=run.batches.image_shape,
    )
    sizes = dataclasses.asdict(replica_memory)
    sizes[f"images of {counted(step_config.steps_per_call, 'step')}"] = sizes.pop("data")
    parts = ", ".join(f"{name} {memory.format_bytes(size)}" for name, size in sizes.items() if size)
    flops = model_costs.training_flops
    return {
        "network": f"{config.network} of widths "
        f"{', '.join(map(str, run.model.architecture.widths))} and "
        f"{_latents(config)}{given}: {model_costs.parameters:,} parameters",
        "work": f"{flops / 1e6:,.1f} MFLOP per example, "
        f"{flops * config.batch_size / 1e9:,.2f} GFLOP per step, "
        f"{flops * config.epochs * run.batches.num_examples:.2g} FLOP in all: "
        f"{_shares_of_work(model_costs)}",
        "memory": f"about {memory.format_bytes(replica_memory.total)} on each replica: {parts}",
    }


def _latents(config: TrainConfig) -> str:
    if config.levels == 1:
        return counted(config.latents, "latent")
    return f"{config.latents} latents at each position of {config.levels} levels"


def _shares_of_work(model_costs: costs.Costs) -> str:
    total = model_costs.forward_flops
    return ", ".join(
        f"{part} {flops / total:.0%}" for part, flops in model_costs.flops_by_part.items() if flops
    )


def _batches(run: TrainingRun, replicas: int) -> dict[str, str]:
    config, batches = run.config, run.batches
    steps_per_call = run.loop.step_config.steps_per_call
    batch = f"{config.batch_size:,} examples: {_shares(config.batch_size, config, replicas)}"
    if last := batches.num_examples % config.batch_size:
        batch += f"; the last batch of an epoch {last:,}: {_shares(last, config, replicas)}"
    calls = config.epochs * ceil_div(batches.steps_per_epoch, steps_per_call)
    return {
        "batch": batch,
        "steps": f"{run.total_steps:,}: {counted(config.epochs, 'epoch')} of "
        f"{batches.steps_per_epoch:,}, in {counted(calls, 'call')} of at most "
        f"{counted(steps_per_call, 'step')}",
    }


def _shares(count: int, config: TrainConfig, replicas: int) -> str:
    """How a batch of `count` examples is divided among the replicas."""
    micro_batch = memory_check.micro_batch_size(config, replicas)
    full_share = micro_batch * config.accumulate
    # The replicas get full shares, one after the other, until no full share is left.
    num_full, rest = divmod(count, full_share)
    num_empty = replicas - num_full - bool(rest)
    in_parts = f" in {config.accumulate} parts of {micro_batch:,}" if config.accumulate > 1 else ""
    shares = [
        f"{full_share:,}{in_parts} on {counted(num_full, 'replica')}" if num_full else "",
        f"{rest:,} on 1 replica" if rest else "",
        f"none on {counted(num_empty, 'replica')}" if num_empty else "",
    ]
    return ", ".join(share for share in shares if share)


def _data(options: RunOptions, examples: PreparedDataset) -> str:
    count = examples.num_examples(TRAIN_SPLIT)
    size = count * math.prod(examples.image_shape)
    limit = cache_limit(options.cache_bytes)
    place = "held in memory" if size <= limit else "streamed from the shards"
    return (
        f"{count:,} examples, {memory.format_bytes(size)}, {place} "
        f"(the limit is {memory.format_bytes(limit)})"
    )


def _heldout(config: TrainConfig, examples: PreparedDataset) -> str:
    if HELDOUT_SPLIT not in examples.splits:
        return f"none: the dataset has no {HELDOUT_SPLIT} split"
    interval = "every epoch" if config.eval_every == 1 else f"every {config.eval_every} epochs"
    available = examples.num_examples(HELDOUT_SPLIT)
    used = min(available, config.heldout_examples)
    return f"{used:,} of {available:,} examples, evaluated {interval}"


def _warmup(run: TrainingRun) -> str:
    if not run.config.warmup_steps:
        return "none"
    text = f"{run.warmup_steps:,} of {run.total_steps:,} steps"
    if run.warmup_steps < run.config.warmup_steps:
        text += (
            f"; warmup_steps {run.config.warmup_steps:,} is bounded by "
            f"warmup_share {run.config.warmup_share:g}"
        )
    if run.warmup_steps >= run.total_steps:
        text += "; warning: it does not end within the run"
    return text
