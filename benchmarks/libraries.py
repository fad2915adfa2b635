"""The section `libraries`: our own parts and the libraries that could replace them.

The rule: a library that comes within a fifth of our own speed wins, since we do not have to
maintain it. All rows are single-threaded, except those of tf.data.
"""

from collections.abc import Sequence
from typing import Any

from benchmarks import medians
from benchmarks.inputs import BenchmarkInputs
from benchmarks.rows import BenchmarkRow, missing

# Distributions whose versions the report names.
PACKAGES = ("protobuf", "zlib-ng", "isal", "pyspng", "opencv-python-headless")
_WINNING_SHARE = 0.8


def verdict(ratio: float) -> str:
    """Which of the two wins, from our speed divided by the library's."""
    winner = "the library wins" if 1 / ratio >= _WINNING_SHARE else "ours wins"
    return f"{share(ratio)}: {winner}"


def share(ratio: float) -> str:
    """The library's speed as a share of ours; no verdict where our row uses a library itself."""
    return f"{1 / ratio:.2f} of our speed"


def libraries(inputs: BenchmarkInputs) -> str:
    """Measures all parts; one table each."""
    records = {"records": inputs.records, "images": inputs.train}
    shards = {"directory": inputs.shards}
    tables = {
        "Inflating the IDAT of PNGs": [
            _ours("zlib (standard library)", "inflate", records | {"module": "zlib"}),
            *(
                BenchmarkRow(
                    name,
                    "inflate",
                    records | {"module": module},
                    judge=share,
                    missing=missing(module.partition(".")[0]),
                )
                for name, module in (("zlib-ng", "zlib_ng.zlib_ng"), ("isal", "isal.isal_zlib"))
            ),
        ],
        "Decoding PNGs from bytes to arrays": [
            _ours("ours: zlib, pyspng and checks for damage", "decode_pngs_ours", records),
            *(
                BenchmarkRow(
                    name,
                    "decode_pngs",
                    records | {"library": library},
                    judge=share,
                    missing=missing(module),
                )
                for name, library, module in (
                    ("pyspng alone, without these checks", "pyspng", "pyspng"),
                    ("OpenCV, one thread", "opencv", "cv2"),
                    ("Pillow", "pillow", "PIL"),
                )
            ),
        ],
        "Image and label of TFDS's records": [
            _ours("ours, by templates", "extract_ours", records),
            _library("protobuf", "extract_protobuf", records),
        ],
        "Reading our shards: ids, images, labels": [
            _ours("ours, the codec", "read_shards_ours", shards),
            _library("our TFRecord reader, protobuf", "read_shards_protobuf", shards),
            *(
                _library(
                    f"tf.data, parse_example, batches of {batch_size:,}",
                    "read_tf_data_batches",
                    shards | {"batch_size": batch_size},
                )
                for batch_size in (1000, 5000)
            ),
        ],
        "Encoding examples as TFRecords": [
            _ours("ours, the codec", "encode_ours", shards),
            _library("protobuf and framing, one by one", "encode_protobuf", shards),
        ],
    }
    return "\n\n".join(_table(inputs, title, rows) for title, rows in tables.items())


def _ours(name: str, task: str, arguments: dict[str, Any]) -> BenchmarkRow:
    return BenchmarkRow(name, task, arguments, is_ours=True)


def _library(name: str, task: str, arguments: dict[str, Any]) -> BenchmarkRow:
    return BenchmarkRow(name, task, arguments, judge=verdict)


def _table(inputs: BenchmarkInputs, title: str, rows: Sequence[BenchmarkRow]) -> str:
    results = medians.measure(rows, repeats=inputs.repeats)
    title = f"{title}: {inputs.subject}; fastest of three passes after the first"
    return medians.section(title, rows, results)
