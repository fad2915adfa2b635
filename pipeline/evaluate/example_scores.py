"""The scores of single examples, to compare models on the same images.

The difference of two models on an image varies much less between images than the score of either
model, so its interval is narrower than those of the two means.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from etils import epath

from components.base.errors import WorkError
from components.base.manifest import Artifact
from components.data.examples import ExampleBatch
from pipeline.evaluate.metrics import METRICS

EXAMPLE_SCORES_FILE = "example_scores.parquet"
_ID, _IMAGE = "id", "image"
_DIGEST_BYTES = 16


@dataclasses.dataclass(frozen=True)
class ExampleScores:
    """The scores of N examples.

    Attributes:
      ids: the ids of the examples.
      images: digests of their pixels and shapes, as bytes.
      by_name: metrics by their names in `METRICS`, each float64, shape [N], in the unit of the
        metric; NaN for examples without a value.
    """

    ids: Sequence[str]
    images: Sequence[bytes]
    by_name: Mapping[str, np.ndarray]


def write(path: epath.PathLike, examples: ExampleBatch, by_name: Mapping[str, np.ndarray]) -> None:
    """Writes a Parquet file with a row per example: `id`, `image` (a digest), and each metric.

    Args:
      path: the file.
      examples: the examples that were scored.
      by_name: metrics of the examples, float64, shape [N], by name; NaN where there is no value.
    """
    shape = str(examples.images.shape[1:]).encode()
    digests = [
        hashlib.blake2b(image.tobytes(), digest_size=_DIGEST_BYTES, key=shape).digest()
        for image in examples.images
    ]
    columns = {
        _ID: pa.array(examples.ids, pa.string()),
        _IMAGE: pa.array(digests, pa.binary(_DIGEST_BYTES)),
        # A value that is not known is null.
        **{
            name: pa.array(values, pa.float64(), from_pandas=True)
            for name, values in by_name.items()
        },
    }
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), buffer)
    epath.Path(path).write_bytes(buffer.getvalue().to_pybytes())


def read(evaluation: Artifact) -> ExampleScores | None:
    """The scores of the examples of an evaluation; None if an earlier version made it.

    Raises:
      WorkError: the file is damaged.
    """
    if EXAMPLE_SCORES_FILE not in evaluation.manifest.outputs:
        return None
    path = evaluation.verified(EXAMPLE_SCORES_FILE)
    try:
        table = pq.read_table(pa.BufferReader(path.read_bytes()))
        ids, images = (table[name].to_pylist() for name in (_ID, _IMAGE))
        by_name = {
            name: table[name].to_numpy().astype(np.float64)
            for name in table.column_names
            if name in METRICS
        }
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise WorkError(
            f"{path} is not a table of scores ({type(error).__name__}); evaluate again with "
            "--overwrite"
        ) from None
    return ExampleScores(ids, images, by_name)
