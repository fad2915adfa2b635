"""Measures the embed stage and its peers in one call: `python -m benchmarks.embed`.

Each run is a separate process, on the CPU. The first pass over the images is not timed, so nothing
is loaded or compiled while the clock runs; Beam's RunInference has one pass, which loads the model.
Our rows measure the work of one worker, from shards to Parquet files. Keras's `predict` neither
reads nor writes: its images are in memory as float32. Figures of one call can be compared; figures
of different machines or hours only as ratios.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator

from benchmarks import command, machine
from benchmarks.inputs import BenchmarkInputs
from benchmarks.rows import BenchmarkRow
from benchmarks.tables import at_least
from benchmarks.turns import comparison_table, measure
from components.base import command_line
from pipeline.embed.config import ENCODER_COLUMNS, EmbedConfig

IMAGES = 60_000
_MLP_RATE = 150_000
_CONV_RATIO = 1.3


def mlp(inputs: BenchmarkInputs) -> str:
    """The fully connected encoder."""
    return _section(
        inputs,
        "mlp",
        judge=lambda rate: at_least(round(rate), _MLP_RATE, "images/s"),
        judge_predict=lambda ratio: "",
    )


def conv(inputs: BenchmarkInputs) -> str:
    """The convolutional encoder."""
    return _section(
        inputs,
        "conv",
        judge=lambda rate: "",
        judge_predict=lambda ratio: at_least(ratio, _CONV_RATIO, "times this"),
    )


def _section(
    inputs: BenchmarkInputs,
    preset: str,
    *,
    judge: Callable[[float], str],
    judge_predict: Callable[[float], str],
) -> str:
    """Measures the model of a preset; a titled table.

    Args:
      inputs: the images.
      preset: name of the preset.
      judge: remark on our rate, in images/s.
      judge_predict: remark on the ratio of our speed to that of Keras's `predict`.
    """
    common = {"examples": inputs.shards, "model": inputs.model(preset)}
    ours = common | {"output": inputs.output}
    columns = EmbedConfig().column_names
    rows = [
        BenchmarkRow("ours, the encoder", "embed_ours", ours | {"columns": ENCODER_COLUMNS}),
        BenchmarkRow("ours, with the scores", "embed_ours", ours | {"columns": columns}),
        BenchmarkRow("Keras `predict`, in memory", "keras_predict", common, judge=judge_predict),
        BenchmarkRow("Beam RunInference, shards to Parquet", "run_inference", ours),
    ]
    results = measure(rows, inputs.repeats)
    lines = [f"**`{preset}`: {inputs.subject}**", comparison_table(rows, results)]
    if not isinstance(results[0], str):
        rate = statistics.median(report["images"] / report["seconds"] for report in results[0])
        lines += [remark for remark in [judge(rate)] if remark]
    return "\n\n".join(lines)


SECTIONS: dict[str, Callable[[BenchmarkInputs], str]] = {
    measure_section.__name__: measure_section for measure_section in (mlp, conv)
}


def main() -> None:
    """Measures the sections that the command line names, and prints the report."""
    parser = command.parser("python -m benchmarks.embed", __doc__, SECTIONS)
    parser.add_argument(
        "--images",
        type=command.positive("--images"),
        default=IMAGES,
        help=f"number of images [{IMAGES:,}]",
    )
    command.print_report(_measure(parser.parse(sys.argv[1:])))


def _measure(options: argparse.Namespace) -> Iterator[str]:
    packages = (*machine.PACKAGES, "keras", "pyarrow")
    yield command.machine_table(packages, images=options.images, full=IMAGES)
    with command.temporary_directory() as directory:
        images = BenchmarkInputs.images_for(options.images)
        inputs = BenchmarkInputs(directory, images, options.repeats, command.data_dir(options))
        for name in options.only:
            yield SECTIONS[name](inputs)


if __name__ == "__main__":
    command_line.run(main)
