"""Measures the trainer and its peers in one call: `python -m benchmarks.train`.

Each run is a separate process, on the CPU; a peer that is not installed is skipped. The first
pass over the images is not timed, so nothing is compiled while the clock runs. The loss of the
second pass, in nats per image, shows that all learn the same. Figures of one call can be compared;
figures of different machines or hours only as ratios.
"""

import argparse
import dataclasses
import statistics
import sys
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks import command, machine
from benchmarks.inputs import BenchmarkInputs
from benchmarks.peers.common import SETTINGS
from benchmarks.rows import BenchmarkRow, missing
from benchmarks.tables import at_least, at_most, table
from benchmarks.turns import ReportsOrReason, measure, section
from components.base import command_line, processor
from components.base.errors import ConfigError
from trainer.config import preset_names

MLP_PRESET = "mlp"
CONV_PRESET = "keras_conv"
IMAGES = 54_000
CONV_BATCHES = 100
# Few, since the largest presets train on some hundred images per second.
PRESET_IMAGES = 6_400
# The shards of `BenchmarkInputs` that a preset trains on, where it needs other images.
PRESET_SHARDS = {"color": "photo_shards"}
# The smallest share of the machine's limit that a preset must reach.
PRESET_SHARE = 0.45
CONV_SHARE_IN_BFLOAT16 = 0.6
SECONDS = 5.0


# --- sections -------------------------------------------------------------------------------------


def mlp(inputs: BenchmarkInputs, seconds: float) -> str:
    """Our loop, our step alone, and the peers, on the fully connected model."""
    examples = {"examples": inputs.shards, "seconds": seconds}
    ours = examples | {"preset": MLP_PRESET}

    def streamed_share(ratio: float) -> str:
        return at_least(1 / ratio, 0.8, "of the rate in memory")

    def overhead(ratio: float) -> str:
        percent = 100 * (1 / ratio - 1)
        return f"overhead {percent:.1f} %, {at_most(percent, 10, '%')}"

    rows = [
        BenchmarkRow("ours, held in memory", "ours", ours),
        BenchmarkRow(
            "ours, streamed from the shards", "ours", ours | {"cache_bytes": 0},
            judge=streamed_share,
        ),
        BenchmarkRow("our bare step", "bare", ours, judge=overhead),
        *_peer_rows("mlp", examples, {"keras": 4, "jax": 1.6, "limit": 0.62}),
    ]  # fmt: skip
    return section(f"`{MLP_PRESET}`, batch 100: {inputs.subject}", rows, inputs.repeats)


def conv(inputs: BenchmarkInputs, seconds: float) -> str:
    """Our loop and the peers on the convolutional model, with fewer images."""
    batch_size = SETTINGS["conv"].batch_size
    inputs = _fewer(inputs, "conv", CONV_BATCHES * batch_size)
    examples = {"examples": inputs.shards, "seconds": seconds}
    targets = {"limit": _conv_share()}
    if processor.has_bfloat16():
        targets |= dict.fromkeys(("keras", "keras_xla", "jax", "torch"), 1.5)
    rows = [
        BenchmarkRow("ours", "ours", examples | {"preset": CONV_PRESET}),
        *_peer_rows("conv", examples, targets),
    ]
    title = (
        f"The VAE of the Keras documentation, batch {batch_size}: {inputs.train:,} images of "
        f"{inputs.subject}"
    )
    return section(title, rows, inputs.repeats)


def _peer_rows(
    model: str, examples: dict[str, Any], targets: dict[str, float]
) -> list[BenchmarkRow]:
    """The peers on one model, and the machine's limit.

    Args:
      model: a key of `SETTINGS`.
      examples: arguments of the peers' tasks.
      targets: the smallest ratio of our speed to a peer's, where one is required.
    """

    def judge(peer: str) -> Callable[[float], str]:
        return lambda ratio: at_least(ratio, targets[peer], "times this") if peer in targets else ""

    arguments = examples | {"model": model}
    xla = {"jit_compile": True, "steps_per_execution": 100}
    # JAX's convolutions are slow within a scan.
    scanned = model == "mlp"
    jax_name = "JAX, one `scan` per epoch" if scanned else "JAX, one call per step"
    return [
        BenchmarkRow("Keras `fit`", "keras_fit", arguments, judge=judge("keras")),
        BenchmarkRow(
            "Keras `fit`, XLA, 100 steps per execution", "keras_fit", arguments | xla,
            judge=judge("keras_xla"),
        ),
        BenchmarkRow(
            jax_name, "jax_steps", arguments | {"scanned": scanned},
            judge=judge("jax"), missing=missing("jax"),
        ),
        BenchmarkRow(
            "PyTorch, a plain loop", "torch_loop", arguments,
            judge=judge("torch"), missing=missing("torch"),
        ),
        BenchmarkRow(
            "PyTorch, `torch.compile`", "torch_loop", arguments | {"compiled": True},
            judge=judge("torch"), missing=missing("torch"),
        ),
        BenchmarkRow("the limit", "limit", {"model": model}, judge=judge("limit")),
    ]  # fmt: skip


def presets(inputs: BenchmarkInputs, seconds: float) -> str:
    """Every preset, and the share of the machine's limit that it reaches."""
    inputs = _fewer(inputs, "presets", PRESET_IMAGES)
    rows = [
        BenchmarkRow(
            f"`{preset}`",
            "preset",
            {
                "examples": getattr(inputs, PRESET_SHARDS.get(preset, "shards")),
                "preset": preset,
                "seconds": seconds,
            },
        )
        for preset in preset_names()
    ]
    targets = {row.name: PRESET_SHARE for row in rows} | {f"`{CONV_PRESET}`": _conv_share()}
    lines = [
        _share_line(row.name, result, target=targets[row.name])
        for row, result in zip(rows, measure(rows, inputs.repeats), strict=True)
    ]
    head = ("preset", "images/s", "GFLOP/s", "the limit, GFLOP/s", "share", "remarks")
    title = "The presets: training FLOPs per second, and those of a large float32 matrix product"
    return f"**{title}**\n\n{table(head, lines)}"


def _share_line(name: str, result: ReportsOrReason, *, target: float) -> list[str]:
    """A line of the presets' table; figures are medians over the turns.

    Args:
      name: the preset's name.
      result: its reports.
      target: the smallest share of the limit that is asked for.
    """
    if isinstance(result, str):
        return [name, *[""] * 4, result]
    speeds = [report["images"] / report["seconds"] for report in result]
    rates = [speed * report["flops"] for speed, report in zip(speeds, result, strict=True)]
    limits = [report["limit"] for report in result]
    share = statistics.median(rate / limit for rate, limit in zip(rates, limits, strict=True))
    figures = [statistics.median(speeds), statistics.median(rates) / 1e9]
    remarks = (
        f"{result[0]['precision']}, {result[0]['flops'] / 1e6:,.2f} MFLOP per image; "
        f"{at_least(share, target, 'of the limit')}"
    )
    columns = [*figures, statistics.median(limits) / 1e9]
    return [name, *(f"{figure:,.0f}" for figure in columns), f"{share:.2f}", remarks]


def _fewer(inputs: BenchmarkInputs, name: str, train: int) -> BenchmarkInputs:
    """The same inputs with at most `train` training images, in a directory of that name."""
    directory = inputs.directory / name
    directory.mkdir()
    images = BenchmarkInputs.images_for(min(inputs.train, train))
    return dataclasses.replace(inputs, directory=directory, images=images)


def _conv_share() -> float:
    return CONV_SHARE_IN_BFLOAT16 if processor.has_bfloat16() else PRESET_SHARE


def start(inputs: BenchmarkInputs, seconds: float) -> str:
    """The time from the start of the process to the end of the first call of steps."""
    del seconds
    arguments = {"examples": inputs.shards, "preset": MLP_PRESET}
    name = "`python -m trainer`, with the first call of steps"
    (result,) = measure([BenchmarkRow(name, "first_call", arguments)], inputs.repeats)
    if isinstance(result, str):
        line = [name, "", "", "", result]
    else:
        times = [report["seconds"] for report in result]
        median = statistics.median(times)
        figures = [f"{figure:.1f}" for figure in (median, min(times), max(times))]
        line = [name, *figures, at_most(median, 8, "s")]
    head = ("what", "seconds", "lowest", "highest", "remarks")
    return f"**From the start of the process, `{MLP_PRESET}`**\n\n{table(head, [line])}"


SECTIONS: dict[str, Callable[[BenchmarkInputs, float], str]] = {
    measure_section.__name__: measure_section for measure_section in (mlp, conv, presets, start)
}


# --- the command ----------------------------------------------------------------------------------


def main() -> None:
    """Measures the sections that the command line names, and prints the report."""
    parser = command.parser("python -m benchmarks.train", __doc__, SECTIONS)
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=SECONDS,
        help=f"shortest time of each run, in seconds [{SECONDS:g}]",
    )
    parser.add_argument(
        "--images",
        type=command.positive("--images"),
        default=IMAGES,
        help=f"number of training images [{IMAGES:,}]",
    )
    command.print_report(_measure(parser.parse(sys.argv[1:])))


def _measure(options: argparse.Namespace) -> Iterator[str]:
    packages = (*machine.PACKAGES, "keras", "jax", "torch")
    yield command.machine_table(packages, images=options.images, full=IMAGES)
    with command.temporary_directory() as directory:
        images = BenchmarkInputs.images_for(options.images)
        inputs = BenchmarkInputs(directory, images, options.repeats, command.data_dir(options))
        for name in options.only:
            yield SECTIONS[name](inputs, options.seconds)


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"--seconds must be a number. Received: {text!r}") from None


if __name__ == "__main__":
    command_line.run(main)
