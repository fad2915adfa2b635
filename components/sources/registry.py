"""Sources of images, and how the one a user names is found."""

import dataclasses
from typing import TYPE_CHECKING

from etils import epath

from components.base.errors import ConfigError, WorkError
from components.ingest.conversion import Conversion
from components.sources import dataset_names
from components.sources.escaping import printable

if TYPE_CHECKING:
    from components.sources.source import Source

_IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}


@dataclasses.dataclass(frozen=True)
class SourceRequest:
    """A source as a user asks for it.

    Attributes:
      dataset: a name that TFDS knows, `synthetic_garments`, `auto`, or a path.
      data_dir: where TFDS keeps its datasets; "": where it does by default.
      features: of TFRecord files: which features hold what; see `FeatureMap.parse`.
      conversion: what the images are turned into.
      size, seed: of synthetic_garments.
    """

    dataset: str
    data_dir: str = ""
    features: str = ""
    conversion: Conversion = dataclasses.field(default_factory=Conversion)
    size: int = 60_000
    seed: int = 0


def resolve(request: SourceRequest) -> tuple["Source", list[str]]:
    """The source that is asked for, downloaded where need be, and notes that the user should read.

    `auto` is fashion_mnist where that is prepared or can be downloaded, else synthetic_garments; a
    name given outright never falls back.

    Raises:
      ConfigError: no such dataset, or the path holds no images.
      WorkError: it is not prepared and cannot be downloaded.
    """
    dataset = request.dataset
    data_dir = request.data_dir or dataset_names.default_data_dir()
    dataset_names.check(dataset, data_dir, request.features)
    if dataset_names.is_path(dataset, data_dir):
        return _at(request), []
    if dataset == dataset_names.GARMENTS:
        return _garments(request), []
    name = dataset_names.AUTO_DATASET if dataset == dataset_names.AUTO else dataset
    from components.sources.tfds_source import TfdsSource, download

    if (path := dataset_names.find_prepared(name, data_dir)) is not None:
        return TfdsSource(name, path, request.conversion), []
    try:
        return TfdsSource(name, download(name, data_dir), request.conversion), []
    except WorkError as error:
        if dataset != dataset_names.AUTO:
            raise
        note = f"dataset auto became {dataset_names.GARMENTS}, drawn images; the reason: {error}"
        return _garments(request), [note]


def _garments(request: SourceRequest) -> "Source":
    from components.sources.synthetic import SyntheticSource

    return SyntheticSource(request.size, request.seed, request.conversion)


def _at(request: SourceRequest) -> "Source":
    """The source at a path, told by what lies there."""
    from components.sources import idx, numpy_files
    from components.sources.folder import FolderSource
    from components.sources.tfds_source import TfdsSource
    from components.sources.tfrecords import FeatureMap, TfrecordsSource

    path = dataset_names.expanded(request.dataset)
    if request.features:
        features = FeatureMap.parse(request.features)
        return TfrecordsSource(request.dataset, features, request.conversion)
    if (path / "dataset_info.json").exists():
        return TfdsSource(path.parent.name, path, request.conversion)
    if idx.is_idx(path):
        _check_no_images(path, "IDX")
        return idx.IdxSource(path, request.conversion)
    if numpy_files.is_arrays(path):
        _check_no_images(path, ".npy")
        return numpy_files.NumpySource(path, request.conversion)
    if path.is_dir():
        return FolderSource(path, request.conversion)
    raise ConfigError(
        f"{path} is no folder, .npz, .npy or IDX file; if it is a TFRecord file, say with "
        "--features which features hold what: image=FEATURE,label=FEATURE"
    )


def _check_no_images(path: epath.Path, kind: str) -> None:
    """Raises ConfigError where a folder with files of `kind` may be meant as one of images."""
    if not path.is_dir():
        return
    others = sorted(other for other in path.iterdir() if not other.name.startswith("."))
    for other in others:
        if other.suffix.lower() in _IMAGE_SUFFIXES or other.is_dir():
            raise ConfigError(
                f"{path} holds {kind} files and {printable(other.name)}: it can be read as arrays "
                f"or as a folder of images; name the {kind} file itself, or move one of the two "
                "away"
            )
