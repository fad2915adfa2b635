"""What a run would take, as text: nothing is trained, no image read and nothing written."""

import contextlib
import dataclasses
import math
import os
from collections.abc import Iterator

from components.base import memory
from components.data.batches import Batches
from components.data.image_store import StreamedImages
from components.data.prepared_dataset import PreparedDataset
from components.model import costs
from trainer import build
from trainer.build import TRAINED, TrainingRun
from trainer.config import RunOptions, TrainConfig
from trainer.devices.hosts import host
from trainer.train import HELDOUT

_LABEL_WIDTH = 14
_RATES = {
    "constant": "constant",
    "cosine": "along half a cosine to 0",
    "one_cycle": "in one cycle, up over 30 % of the run and down again",
}
_BETAS = {
    "constant": "",
    "linear": ", from 0 up over the first half of the run",
    "cyclical": ", from 0 up over the first half of each of {cycles} cycles",
}


def describe(config: TrainConfig, options: RunOptions, examples: PreparedDataset) -> str:
    """Devices, costs, batches, data and schedules of a run, one a line.

    Raises:
      ConfigError: as training would.
    """
    num_hosts = host().count
    with _alone():
        # Streamed, so that nothing is read before it is asked for.
        batches = Batches(
            StreamedImages(examples, TRAINED), batch_size=config.batch_size, seed=config.seed
        )
        run = build.run_on(build.machine(config), config, batches)
    batches.close()
    replicas = num_hosts * len(run.machine.devices)
    lines = {
        "devices": _devices(run, num_hosts),
        "precision": run.machine.precision
        + (", compiled by XLA" if run.loop.steps.compiled else ", not compiled by XLA"),
        **_costs(run, replicas),
        **_batches(run, replicas),
        "data": _data(options, examples),
        "held out": _heldout(config, examples),
        "learning rate": _learning_rate(config),
        "beta": f"{config.beta:g}" + _BETAS[config.beta_schedule].format(cycles=config.beta_cycles),
    }
    return "\n".join(f"{label:{_LABEL_WIDTH}} {text}" for label, text in lines.items())


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Without TF_CONFIG: a strategy over several hosts would wait for the others."""
    kept = os.environ.pop("TF_CONFIG", None)
    try:
        yield
    finally:
        if kept is not None:
            os.environ["TF_CONFIG"] = kept


def _devices(run: TrainingRun, num_hosts: int) -> str:
    each = f"{len(run.machine.devices)} x {run.machine.devices[0]}"
    return each if num_hosts == 1 else f"{num_hosts} hosts with {each} each"


def _costs(run: TrainingRun, replicas: int) -> dict[str, str]:
    config, update = run.config, run.loop.steps.update
    counted = costs.count(run.model.encoder, run.model.decoder)
    part = _part(config, replicas)
    image_bytes = math.prod(run.batches.image_shape)
    memory = costs.memory(
        counted,
        micro_batch=part,
        num_slots=update.optimizer.num_slots,
        averages=config.ema_decay > 0,
        data_bytes=run.loop.steps.per_call * part * config.accumulate * image_bytes,
        activation_bytes=4 if run.machine.precision == "float32" else 2,
    )
    sizes = dataclasses.asdict(memory)
    sizes["a call's images"] = sizes.pop("data")
    kinds = ", ".join(f"{kind} {_bytes(size)}" for kind, size in sizes.items() if size)
    flops = counted.training_flops
    return {
        "network": f"{config.network} of widths {', '.join(map(str, config.widths))} and "
        f"{config.latents} latents: {counted.parameters:,} parameters",
        "work": f"{flops / 1e6:,.1f} MFLOP an example, "
        f"{flops * config.batch_size / 1e9:,.2f} GFLOP a step",
        "memory": f"about {_bytes(memory.total)} on each replica: {kinds}",
    }


def _batches(run: TrainingRun, replicas: int) -> dict[str, str]:
    config, batches, per_call = run.config, run.batches, run.loop.steps.per_call
    part, last = _part(config, replicas), batches.num_examples % config.batch_size
    split = f"{config.batch_size:,} examples: {_split(config.batch_size, part, config, replicas)}"
    if last:
        split += f"; the last of an epoch {last:,}: {_split(last, part, config, replicas)}"
    calls = -(-batches.steps_per_epoch // per_call)
    return {
        "batch": split,
        "steps": f"{run.total_steps:,}: {config.epochs:,} epochs of {batches.steps_per_epoch:,}, "
        f"in {config.epochs * calls:,} calls of at most {per_call:,}",
    }


def _part(config: TrainConfig, replicas: int) -> int:
    """Examples whose gradients a replica computes at once."""
    return -(-config.batch_size // (replicas * config.accumulate))


def _split(count: int, part: int, config: TrainConfig, replicas: int) -> str:
    """How many of `count` examples each replica gets."""
    full, rest = divmod(count, part * config.accumulate)
    empty = replicas - full - bool(rest)
    in_parts = f" in {config.accumulate} parts of {part:,}" if config.accumulate > 1 else ""
    shares = [
        f"{part * config.accumulate:,}{in_parts} on {_replicas(full)}" if full else "",
        f"{rest:,} on {_replicas(1)}" if rest else "",
        f"none on {_replicas(empty)}" if empty else "",
    ]
    return ", ".join(share for share in shares if share)


def _data(options: RunOptions, examples: PreparedDataset) -> str:
    count = examples.num_examples(TRAINED)
    size = count * math.prod(examples.image_shape)
    limit = memory.free_memory() // 4 if options.cache_bytes is None else options.cache_bytes
    place = "held in memory" if size <= limit else "streamed from the shards"
    return f"{count:,} examples, {_bytes(size)}, {place} (the cache may have {_bytes(limit)})"


def _heldout(config: TrainConfig, examples: PreparedDataset) -> str:
    if HELDOUT not in examples.splits:
        return f"none: no split {HELDOUT}"
    often = "every epoch" if config.eval_every == 1 else f"every {config.eval_every} epochs"
    there = examples.num_examples(HELDOUT)
    return f"{min(there, config.heldout_examples):,} of {there:,} examples, scored {often}"


def _learning_rate(config: TrainConfig) -> str:
    warmup = f"up from 0 over {config.warmup_steps:,} steps, then " if config.warmup_steps else ""
    return f"{config.optimizer}, {config.learning_rate:g}: {warmup}{_RATES[config.schedule]}"


def _replicas(count: int) -> str:
    return "1 replica" if count == 1 else f"{count:,} replicas"


def _bytes(size: int) -> str:
    """Two decimals of the largest unit that fits."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:,.2f} {unit}"
    return f"{size} bytes"
