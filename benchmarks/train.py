"""The trainer measured beside its peers, in one call: `python -m benchmarks.train`.

Each run is a process of its own, on the CPU; a peer that is not installed costs its row alone. The
first pass over the images is not timed, so that nothing is compiled while the clock runs; the loss
of the second, in nats per image, shows that all learn the same. Figures of one call compare, those
of different machines or hours only as ratios.
"""

import argparse
import dataclasses
import importlib.util
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.peers import SETTINGS
from benchmarks.prepare import Bench
from benchmarks.rows import at_least, at_most, table
from benchmarks.turns import Row, measure, section
from components.base import command_line
from components.base.errors import ConfigError, nearest
from components.sources import dataset_names

MLP_PRESET = "mlp"
CONV_PRESET = "keras_conv"
IMAGES = 54_000
CONV_BATCHES = 100
SECONDS = 5.0


# --- sections -------------------------------------------------------------------------------------


def mlp(bench: Bench, seconds: float) -> str:
    examples = {"examples": bench.shards, "seconds": seconds}
    ours = examples | {"preset": MLP_PRESET}

    def share(ratio: float) -> str:
        return at_least(1 / ratio, 0.8, "of the rate in memory")

    def overhead(ratio: float) -> str:
        percent = 100 * (1 / ratio - 1)
        return f"overhead {percent:.1f} %, {at_most(percent, 10, '%')}"

    rows = [
        Row("ours, held in memory", "ours", ours),
        Row("ours, streamed from the shards", "ours", ours | {"cache_bytes": 0}, share),
        Row("our bare step", "bare", ours, overhead),
        *_peers("mlp", examples, {"keras": 4, "jax": 1.6, "limit": 0.62}),
    ]
    return section(f"`{MLP_PRESET}`, batch 100: {bench.subject}", rows, bench.repeats)


def conv(bench: Bench, seconds: float) -> str:
    batch_size = SETTINGS["conv"].batch_size
    images = min(bench.train, CONV_BATCHES * batch_size)
    directory = bench.directory / "conv"
    directory.mkdir()
    bench = dataclasses.replace(bench, directory=directory, images=total(images))
    examples = {"examples": bench.shards, "seconds": seconds}
    twice_each = {"keras": 2, "keras_xla": 2, "jax": 2, "torch": 2, "limit": 0.5}
    rows = [
        Row("ours", "ours", examples | {"preset": CONV_PRESET}),
        *_peers("conv", examples, twice_each),
    ]
    title = f"The VAE of the Keras documentation, batch {batch_size}: {images:,} of {bench.subject}"
    return section(title, rows, bench.repeats)


def _peers(model: str, examples: dict[str, Any], least: dict[str, float]) -> list[Row]:
    """The peers on one of their models, and the machine's limit.

    Args:
      model: which.
      examples: arguments of their tasks.
      least: what ours / this is to be at least, where it was asked for.
    """

    def asked(name: str) -> Callable[[float], str]:
        return lambda ratio: at_least(ratio, least[name], "times this") if name in least else ""

    given = examples | {"model": model}
    xla = {"jit_compile": True, "steps_per_execution": 100}
    # Its convolutions are slow within a scan.
    scanned = model == "mlp"
    jax = "JAX, an epoch per `scan`" if scanned else "JAX, a call per step"
    no_jax, no_torch = _missing("jax"), _missing("torch")
    return [
        Row("Keras `fit`", "keras_fit", given, asked("keras")),
        Row("Keras `fit`, XLA, 100 steps per execution", "keras_fit", given | xla,
            asked("keras_xla")),
        Row(jax, "jax_steps", given | {"scanned": scanned}, asked("jax"), no_jax),
        Row("PyTorch, a plain loop", "torch_loop", given, asked("torch"), no_torch),
        Row("PyTorch, `torch.compile`", "torch_loop", given | {"compiled": True}, asked("torch"),
            no_torch),
        Row("the limit", "limit", {"model": model}, asked("limit")),
    ]  # fmt: skip


def _missing(package: str) -> str:
    return "" if importlib.util.find_spec(package) else f"absent: no {package} is installed"


def start(bench: Bench, seconds: float) -> str:
    del seconds
    arguments = {"examples": bench.shards, "preset": MLP_PRESET}
    row = Row("`python -m trainer`, the first call of steps included", "first_call", arguments)
    (result,) = measure([row], bench.repeats)
    if isinstance(result, str):
        line = [row.name, "", "", "", result]
    else:
        wall = [report["seconds"] for report in result]
        median = statistics.median(wall)
        figures = [f"{each:.1f}" for each in (median, min(wall), max(wall))]
        line = [row.name, *figures, at_most(median, 8, "s")]
    head = ("what", "seconds", "lowest", "highest", "remarks")
    return f"**From the start of the process, `{MLP_PRESET}`**\n\n{table(head, [line])}"


SECTIONS: dict[str, Callable[[Bench, float], str]] = {
    each.__name__: each for each in (mlp, conv, start)
}


# --- the command ----------------------------------------------------------------------------------


def total(train: int) -> int:
    """How many images there must be for so many to be for training."""
    return -(-train * 7 // 6)


def main() -> None:
    options = _options(sys.argv[1:])
    data_dir = str(
        dataset_names.expanded(options.data_dir or dataset_names.default_data_dir()).resolve()
    )
    parts = []

    def show(part: str) -> None:
        parts.append(part)
        print(f"{part}\n", flush=True)

    lines = machine.described((*machine.PACKAGES, "keras", "jax", "torch"))
    if options.images != IMAGES:
        lines.append(["sizes", f"{options.images:,} images for {IMAGES:,}: nothing here counts"])
    show(table(["machine", ""], lines))
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        # What a process leaves of its own temporary files goes with ours.
        os.environ["TMPDIR"] = directory
        bench = Bench(Path(directory), total(options.images), options.repeats, data_dir)
        for name in options.only:
            show(SECTIONS[name](bench, options.seconds))
    print("# Everything again, in one piece", *parts, sep="\n\n")


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = command_line.Parser(prog="python -m benchmarks.train", description=__doc__)
    parser.add_argument(
        "--data_dir", default="", help="where TFDS keeps its datasets [TFDS_DATA_DIR]"
    )
    parser.add_argument(
        "--only",
        type=_sections,
        default=list(SECTIONS),
        metavar="NAME,...",
        help=f"sections to measure [{','.join(SECTIONS)}]",
    )
    parser.add_argument("--repeats", type=_count, default=3, help="runs of each row [3]")
    parser.add_argument(
        "--seconds", type=_seconds, default=SECONDS, help=f"least time of each run [{SECONDS:g}]"
    )
    parser.add_argument(
        "--images", type=_count, default=IMAGES, help=f"how many to train on [{IMAGES:,}]"
    )
    return parser.parse(arguments)


def _sections(names: str) -> list[str]:
    for name in names.split(","):
        if name not in SECTIONS:
            raise ConfigError(f"unknown section {name!r}; {nearest(name, SECTIONS)}")
    return names.split(",")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"--repeats and --images are at least 1. Received: {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"--seconds is a number. Received: {text!r}") from None


if __name__ == "__main__":
    command_line.run(main)
