"""Names of datasets, and the directories in which TFDS prepared them.

The command line checks names before any work starts, so this module imports no TFDS: that import
takes a second.
"""

import functools
import os
from importlib import resources

from etils import epath

from components.base.errors import ConfigError, nearest

AUTO = "auto"
AUTO_DATASET = "fashion_mnist"
SYNTHETIC_GARMENTS = "synthetic_garments"
AUTO_CHOICES = (AUTO_DATASET, SYNTHETIC_GARMENTS)


def default_data_dir() -> str:
    """The directory in which TFDS keeps its datasets: TFDS_DATA_DIR, or one in the home directory.

    The path may begin with `~`.
    """
    return os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")


def expand_user(path: str) -> epath.Path:
    """A path with the home directory in place of a leading `~`."""
    return epath.Path(path).expanduser()


def is_path(dataset: str, data_dir: epath.PathLike) -> bool:
    """Whether `dataset` is a path rather than the name of a dataset.

    The name of a dataset that TFDS knows or has prepared takes precedence over a file or folder of
    the same name; `./mnist` is always a path.
    """
    if "://" in dataset or dataset.startswith(("/", "./", "../", "~")) or dataset in (".", ".."):
        return True
    if _is_known(dataset) or find_prepared(dataset, data_dir) is not None:
        return False
    return has_wildcard(dataset) or expand_user(dataset).exists()


def has_wildcard(path: str) -> bool:
    """Whether a path is a pattern of TFRecord files."""
    return "*" in path or "?" in path


def check_dataset(dataset: str, data_dir: epath.PathLike, features: str) -> None:
    """Checks that `dataset` exists.

    Args:
      dataset: a name or a path; with `features` it may be a pattern.
      data_dir: directory in which TFDS keeps its datasets.
      features: the value of --features; "" if it is not given.

    Raises:
      ConfigError: `dataset` is neither a path that exists nor the name of a dataset that TFDS knows
        or has prepared; or `features` is given for a name.
    """
    if is_path(dataset, data_dir):
        # Whether a pattern matches any file is checked when the source is opened.
        if not features and not expand_user(dataset).exists():
            if has_wildcard(dataset):
                raise ConfigError(
                    f"a pattern such as {dataset} is for TFRecord files, and needs --features "
                    "image=FEATURE,label=FEATURE; for images, pass the folder that holds them"
                )
            raise ConfigError(
                f"there is no file or folder {dataset}; pass a path that exists, or the name of a "
                "dataset"
            )
    elif features:
        raise ConfigError(
            f"--features is for paths of TFRecord files, but {dataset!r} is the name of a dataset; "
            "remove --features, or pass a path"
        )
    elif not _is_known(dataset) and find_prepared(dataset, data_dir) is None:
        raise ConfigError(
            f"unknown dataset {dataset!r}; {nearest(dataset, _known_names())}; a path, or any "
            f"dataset that TFDS prepared under --data_dir {data_dir}, is accepted too"
        )


def _is_known(dataset: str) -> bool:
    # The name is mnist in mnist/config:3.0.1.
    return dataset.partition(":")[0].partition("/")[0] in _known_names()


@functools.cache
def _known_names() -> frozenset[str]:
    return frozenset({*_tfds_names(), AUTO, SYNTHETIC_GARMENTS})


def find_prepared(dataset: str, data_dir: epath.PathLike) -> epath.Path | None:
    """The directory in which TFDS prepared a dataset, or None if there is none.

    TFDS has such a search, but importing TFDS takes a second and every command needs the answer.

    Args:
      dataset: `name[/config][:version]`. Without a version, the newest one is found, as in TFDS.
      data_dir: directory in which TFDS keeps its datasets.
    """
    name, _, version = dataset.partition(":")
    root = epath.Path(data_dir).expanduser() / name
    if version:
        candidates = [root / version]
    elif root.is_dir():
        candidates = sorted((path for path in root.iterdir() if _version(path)), key=_version)
    else:
        candidates = []
    prepared = [path for path in candidates if (path / "dataset_info.json").exists()]
    return prepared[-1] if prepared else None


def _version(path: epath.Path) -> tuple[int, ...]:
    """The version that a directory is named after: (3, 0, 1) for .../3.0.1; () if there is none."""
    parts = path.name.split(".")
    return tuple(map(int, parts)) if len(parts) == 3 and all(map(str.isdigit, parts)) else ()


def _tfds_names() -> list[str]:
    """The names that the pinned version of TFDS knows, from a file: importing TFDS takes a second.

    A test compares the file with TFDS.
    """
    return resources.files("components.sources").joinpath("tfds_names.txt").read_text().split()
