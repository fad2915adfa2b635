"""Opens the source of images that a user names."""

import dataclasses
from typing import TYPE_CHECKING

from etils import epath

from components.base import drafts, file_types, files
from components.base.errors import ConfigError, WorkError
from components.base.memory import LOAD_BYTES
from components.ingest.conversion import AS_IS, Conversion
from components.sources import dataset_names
from components.sources.escaping import escape
from components.sources.layout import AxisLayout
from components.sources.regular_files import check_regular

if TYPE_CHECKING:
    from components.sources.source import Source

_TFRECORD_MARK = ".tfrec"
_FEATURES = "name its features: --features image=FEATURE,label=FEATURE"


@dataclasses.dataclass(frozen=True)
class SourceRequest:
    """The source that a user requests, and how to read it.

    Attributes:
      dataset: the name of a TFDS dataset, `synthetic_garments`, `auto`, or a path.
      data_dir: directory in which TFDS keeps its datasets; "" for TFDS's default.
      features: names of the features in TFRecord files; see `FeatureMap.parse`. "" for all other
        sources.
      splits: the folders of the splits in a folder of images, `train=DIR,test=DIR`; "" to infer
        them, and for all other sources.
      label_depth: the folder level that is the class, in a folder of images; None to infer it,
        and for all other sources.
      conversion: size and channels to convert the images to.
      layout: the order of the axes of arrays; see `AxisLayout.parse`. "" for the usual order, and
        for all other sources.
      load_bytes: the most bytes that are loaded at once of what a file holds: a record, the labels
        of a split, or images that are not stored one after the other.
      size: number of training images of `synthetic_garments`.
      seed: seed of `synthetic_garments`.
    """

    dataset: str
    data_dir: str = ""
    features: str = ""
    splits: str = ""
    label_depth: int | None = None
    conversion: Conversion = AS_IS
    layout: str = ""
    load_bytes: int = LOAD_BYTES
    size: int = 60_000
    seed: int = 0


def open_source(request: SourceRequest) -> tuple["Source", list[str]]:
    """Opens the source that a user requests.

    A TFDS dataset that is not prepared yet is downloaded and prepared. `auto` means fashion_mnist
    if that is prepared or can be downloaded, and synthetic_garments otherwise. A dataset that is
    requested by its own name is never replaced by another.

    Returns:
      The source, and notes for the user.

    Raises:
      ConfigError: there is no such dataset, or the path holds no images.
      WorkError: the dataset is not prepared and cannot be downloaded.
    """
    dataset = request.dataset
    data_dir = request.data_dir or dataset_names.default_data_dir()
    dataset_names.check_dataset(dataset, data_dir, request.features)
    if dataset_names.is_path(dataset, data_dir):
        source = _open_path(request)
        if not _is_folder(source):
            _check_no_folder_options(request)
        return source, []
    _check_no_folder_options(request)
    if request.layout:
        raise _layout_error(f"{dataset!r} is the name of a dataset")
    if dataset == dataset_names.SYNTHETIC_GARMENTS:
        return _synthetic_garments(request), []
    name = dataset_names.AUTO_DATASET if dataset == dataset_names.AUTO else dataset
    from components.sources.tfds_source import TfdsSource, download

    if (path := dataset_names.find_prepared(name, data_dir)) is not None:
        return TfdsSource(name, path, request.conversion, request.load_bytes), []
    try:
        path = download(name, data_dir)
        return TfdsSource(name, path, request.conversion, request.load_bytes), []
    except WorkError as error:
        if dataset != dataset_names.AUTO:
            raise
        note = (
            f"dataset auto became {dataset_names.SYNTHETIC_GARMENTS} (drawn images), because "
            f"{name} is not available: {error}"
        )
        return _synthetic_garments(request), [note]


def outline(source: "Source") -> list[str]:
    """How a folder was understood, in a few lines for people; empty for other sources."""
    from components.sources.folder import FolderSource

    return source.outline() if isinstance(source, FolderSource) else []


def _synthetic_garments(request: SourceRequest) -> "Source":
    from components.sources.synthetic import SyntheticSource

    return SyntheticSource(request.size, request.seed, request.conversion)


def _open_path(request: SourceRequest) -> "Source":
    """The source at a path; the names of the files there determine its kind."""
    from components.sources import idx
    from components.sources.array_listing import holds_arrays_itself, is_numpy
    from components.sources.folder import FolderSource
    from components.sources.numpy_files import NumpySource
    from components.sources.tfds_source import TfdsSource
    from components.sources.tfrecords import FeatureMap, TfrecordsSource

    path = dataset_names.expand_user(request.dataset)
    drafts.check_finished(path)
    layout = AxisLayout.parse(request.layout) if request.layout else None
    is_array = not request.features and not (path / "dataset_info.json").exists()
    is_array = is_array and (idx.is_idx(path) or is_numpy(path))
    if layout is not None and not is_array:
        raise _layout_error(f"{path} is neither IDX nor NumPy files")
    if request.features:
        features = FeatureMap.parse(request.features)
        return TfrecordsSource(request.dataset, features, request.conversion, request.load_bytes)
    if (path / "dataset_info.json").exists():
        return TfdsSource(path.parent.name, path, request.conversion, request.load_bytes)
    if idx.is_idx(path):
        _check_holds_no_images(path, "IDX")
        return idx.IdxSource(path, request.conversion, layout, request.load_bytes)
    if is_numpy(path):
        if path.is_dir() and holds_arrays_itself(path):
            _check_holds_no_images(path, ".npy or .npz")
        return NumpySource(path, request.conversion, layout, request.load_bytes)
    if path.is_dir():
        _check_needs_no_features(path)
        return FolderSource(path, request.conversion, request.splits, request.label_depth)
    raise _unsupported_file(path)


def _unsupported_file(path: epath.Path) -> ConfigError:
    """The error for a file that is not a dataset: names its type, and what to do."""
    check_regular(path)
    # A file of the system without a size, such as /proc/kmsg, may block reads.
    head = b""
    if files.stat(path).size:
        with path.open("rb") as file:
            head = file.read(file_types.HEAD_BYTES)
    found = file_types.identify(head, path.name)
    if _TFRECORD_MARK in path.name or found == file_types.UNKNOWN:
        return ConfigError(
            f"{path} is not a folder, .npz, .npy or IDX file; if it is a TFRecord file, {_FEATURES}"
        )
    advice = found.advice or "pass the folder or the file that holds the images"
    if found.is_image:
        advice = "pass the folder that holds the images"
    elif found.advice == file_types.UNPACK:
        advice = "unpack it, and pass the folder or the file that was in it"
    return ConfigError(
        f"{path} is {found.name}, not a folder, .npz, .npy, IDX or TFRecord file; {advice}"
    )


def _check_needs_no_features(path: epath.Path) -> None:
    """Raises ConfigError for a folder that holds TFRecord files, and no images beside them."""
    names = [entry.name for entry in path.iterdir() if not entry.name.startswith(".")]
    if not any(_TFRECORD_MARK in name for name in names):
        return
    if not any(_is_image_name(name) or (path / name).is_dir() for name in names):
        raise ConfigError(f"{path} holds TFRecord files; {_FEATURES}")


def _is_image_name(name: str) -> bool:
    from components.sources.image_files import IMAGE_SUFFIXES

    return epath.Path(name).suffix.lower() in IMAGE_SUFFIXES


def _check_no_folder_options(request: SourceRequest) -> None:
    """Raises ConfigError if options of a folder of images are given for another source."""
    for name, is_given in (
        ("splits", bool(request.splits)),
        ("label_depth", request.label_depth is not None),
    ):
        if is_given:
            raise ConfigError(
                f"--{name} is for folders of images, but {request.dataset!r} is not one; leave "
                "the option out"
            )


def _is_folder(source: "Source") -> bool:
    from components.sources.folder import FolderSource

    return isinstance(source, FolderSource)


def _layout_error(detail: str) -> ConfigError:
    return ConfigError(f"--layout is for arrays, but {detail}; remove --layout")


def _check_holds_no_images(path: epath.Path, kind: str) -> None:
    """Raises ConfigError for a folder of array files that may be meant as a folder of images.

    Args:
      path: a file or folder.
      kind: the kind of array files that were found in the folder, for the message.
    """

    if not path.is_dir():
        return
    for entry in sorted(entry for entry in path.iterdir() if not entry.name.startswith(".")):
        if _is_image_name(entry.name) or entry.is_dir():
            raise ConfigError(
                f"{path} holds {kind} files and {escape(entry.name)}, so it may be read as arrays "
                f"or as a folder of images; name the {kind} file itself, or move one of the two "
                "away"
            )
