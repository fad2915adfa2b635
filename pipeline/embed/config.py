"""The settings of the embed stage."""

import dataclasses

from components.base.config import option
from components.base.errors import ConfigError, nearest

# As in `components.model.embeddings`, which imports NumPy and Arrow.
COLUMNS = (
    "id",
    "split",
    "label",
    "label_name",
    "mean",
    "log_variance",
    "rate",
    "distortion",
    "outlier_score",
    "x",
    "y",
    "image",
)
FORMATS = ("parquet", "npy", "tfrecord")
_NOT_BY_DEFAULT = ("x", "y", "image")
# The columns that need only the encoder.
ENCODER_COLUMNS = COLUMNS[:6]


@dataclasses.dataclass(frozen=True)
class EmbedConfig:
    """Settings of the embeddings."""

    columns: str = option(
        ",".join(name for name in COLUMNS if name not in _NOT_BY_DEFAULT),
        f"columns to write, separated by commas; there are also {', '.join(_NOT_BY_DEFAULT)}",
    )
    format: str = option("parquet", "format of the files", choices=FORMATS)
    training_examples: str = option(
        "",
        "directory of the prepared dataset that the model was trained on, which outlier_score, x "
        "and y compare with [the one in the model's manifest]",
        is_path=True,
    )

    @property
    def column_names(self) -> tuple[str, ...]:
        """The columns, in the order of COLUMNS."""
        return tuple(name for name in COLUMNS if name in self._chosen)

    @property
    def _chosen(self) -> list[str]:
        return [name.strip() for name in self.columns.split(",")]

    def __post_init__(self) -> None:
        for name in self._chosen:
            if name not in COLUMNS:
                raise ConfigError(f"unknown column {name!r} in columns; {nearest(name, COLUMNS)}")
        if self.format == "npy" and "image" in self.column_names:
            raise ConfigError(
                "format npy has no column image, since its values have different lengths; choose "
                "the format parquet or tfrecord"
            )
