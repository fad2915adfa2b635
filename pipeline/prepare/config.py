"""The settings of the prepare stage."""

import dataclasses
import re

from components.base.config import option
from components.base.errors import ConfigError
from components.base.memory import LOAD_BYTES
from components.ingest.conversion import BACKGROUNDS, MAX_PIXELS, Conversion
from components.sources import dataset_names
from components.sources.layout import AxisLayout
from components.sources.registry import SourceRequest

_MAX_SYNTHETIC = 1_000_000_000


@dataclasses.dataclass(frozen=True)
class PrepareConfig:
    """Settings of the dataset and its preparation."""

    dataset: str = option(
        dataset_names.AUTO,
        "a TFDS image dataset; the path of a folder of images, of IDX, .npz or .npy files, or of "
        "TFRecord files; `synthetic_garments` (built in, needs no network); or `auto`: "
        "fashion_mnist if it is prepared or can be downloaded, otherwise synthetic_garments",
        is_path=True,
    )
    data_dir: str = option(
        "", "directory in which TFDS keeps its datasets [$TFDS_DATA_DIR]", is_path=True
    )
    features: str = option(
        "",
        "names of the features in TFRecord files: image=NAME[[:TYPE]:HxWxC],label=NAME,id=NAME; "
        "with HxWxC or CxHxW the image is raw pixels (uint8, or of the type uint16, float32 or "
        "float64), otherwise an encoded file",
    )
    splits: str = option(
        "",
        "the folders of the splits in a folder of images, relative to it: "
        "train=DIR,validation=DIR,test=DIR; all others are left out [from the names of the "
        "folders]",
    )
    label_depth: int | None = option(
        None,
        "the level of folders below the split that is the class in a folder of images: 1, 2, …; 0 "
        "for no classes [from the names of the folders]",
    )
    layout: str = option(
        "",
        "order of the axes of arrays, such as HWN, NCHW or HWC, or the shape of images in flat "
        "rows, such as N28x28 or N3x32x32 [NHW or NHWC]",
    )
    image_size: str = option(
        "",
        "scale images to N or HEIGHTxWIDTH pixels; the excess is cropped equally from both sides "
        "[original size]",
    )
    channels: int | None = option(
        None, "convert images to 1 (gray) or 3 (RGB) channels [original channels]"
    )
    background: str = option(
        "black",
        "color that transparent pixels become, where --channels converts images with transparency",
        choices=tuple(BACKGROUNDS),
    )
    duplicates: str = option(
        "keep",
        "images with the same pixels: keep all and list them, drop all but one, or stop with an "
        "error",
        choices=("keep", "drop", "error"),
    )
    validation_fraction: float = option(
        0.1, "fraction of train to use for validation, if the dataset has no validation split"
    )
    load_bytes: int = option(
        LOAD_BYTES,
        "limit in bytes for each part of a file that is loaded whole: a record, the labels of a "
        "split, or images in another order than --layout N…; does not change the result",
    )
    shard_bytes: int = option(128 << 20, "target size of a shard, in bytes")
    synthetic_size: int = option(
        60_000, "number of training images of synthetic_garments; the test split has a sixth of it"
    )
    synthetic_seed: int = option(0, "random seed of synthetic_garments")

    def request(self, dataset: str) -> SourceRequest:
        """The request for a source, with `dataset` in place of the config's own."""
        sides = self._image_sides()
        return SourceRequest(
            dataset=dataset,
            data_dir=self.data_dir,
            features=self.features,
            splits=self.splits,
            label_depth=self.label_depth,
            layout=self.layout,
            load_bytes=self.load_bytes,
            conversion=Conversion(
                (sides[0], sides[-1]) if sides else None,
                self.channels,
                self.background,
            ),
            size=self.synthetic_size,
            seed=self.synthetic_seed,
        )

    def _image_sides(self) -> list[int]:
        """One or two sides in pixels; empty to keep the original size."""
        return [int(side) for side in self.image_size.split("x") if side]

    def __post_init__(self) -> None:
        if self.layout:
            AxisLayout.parse(self.layout)
        if self.image_size and not re.fullmatch(r"[1-9]\d{0,4}(x[1-9]\d{0,4})?", self.image_size):
            raise ConfigError(
                f"image_size must be N or HEIGHTxWIDTH. Received: {self.image_size!r}"
            )
        sides = self._image_sides()
        if sides and sides[0] * sides[-1] > MAX_PIXELS:
            raise ConfigError(
                f"image_size must have at most {MAX_PIXELS:,} pixels. Received: {self.image_size!r}"
            )
        if self.channels not in (None, 1, 3):
            raise ConfigError(f"channels must be 1 or 3. Received: {self.channels}")
        if not 0 <= self.validation_fraction < 1:
            raise ConfigError(
                "validation_fraction must be at least 0 and less than 1. "
                f"Received: {self.validation_fraction}"
            )
        if self.label_depth is not None and self.label_depth < 0:
            raise ConfigError(f"label_depth must be at least 0. Received: {self.label_depth}")
        if self.synthetic_seed < 0:
            raise ConfigError(f"synthetic_seed must be at least 0. Received: {self.synthetic_seed}")
        if self.synthetic_size > _MAX_SYNTHETIC:
            raise ConfigError(
                f"synthetic_size must be at most {_MAX_SYNTHETIC:,}. "
                f"Received: {self.synthetic_size}"
            )
        for name in ("load_bytes", "shard_bytes", "synthetic_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1. Received: {getattr(self, name)}")
