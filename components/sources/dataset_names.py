"""The names of datasets, and where prepared ones lie. Light: a command line must answer at once."""

import functools
import os
from importlib import resources

from etils import epath

from components.base.errors import ConfigError, nearest

AUTO = "auto"
AUTO_DATASET = "fashion_mnist"
GARMENTS = "synthetic_garments"
AUTO_CHOICES = (AUTO_DATASET, GARMENTS)


def default_data_dir() -> str:
    """Where TFDS keeps its datasets: TFDS_DATA_DIR, or a folder in the home directory."""
    return os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")


def expanded(path: str) -> epath.Path:
    return epath.Path(path).expanduser()


def is_path(dataset: str, data_dir: epath.PathLike) -> bool:
    """Whether `dataset` is a path; a name that TFDS knows, or has prepared, is none."""
    if "://" in dataset or dataset.startswith(("/", "./", "../", "~")) or dataset in (".", ".."):
        return True
    if _first_part(dataset) in _known() or find_prepared(dataset, data_dir) is not None:
        return False
    return any(sign in dataset for sign in "*?") or expanded(dataset).exists()


def check(dataset: str, data_dir: epath.PathLike, features: str) -> None:
    """Raises ConfigError unless `dataset` is a path that exists, prepared, or known to TFDS."""
    path = is_path(dataset, data_dir)
    if features and not path:
        raise ConfigError(f"--features is for paths of TFRecord files; {dataset!r} is a name")
    if path:
        if not features and not expanded(dataset).exists():
            raise ConfigError(f"nothing is at {dataset}; name a path that exists, or a dataset")
    elif _first_part(dataset) not in _known() and find_prepared(dataset, data_dir) is None:
        raise ConfigError(
            f"unknown dataset {dataset!r}; {nearest(dataset, _known())} (and any path, and any "
            f"TFDS dataset prepared under --data_dir {data_dir})"
        )


def _first_part(dataset: str) -> str:
    """mnist of mnist/config:3.0.1."""
    return dataset.partition(":")[0].partition("/")[0]


@functools.cache
def _known() -> frozenset[str]:
    return frozenset({*_tfds_names(), AUTO, GARMENTS})


def find_prepared(dataset: str, data_dir: epath.PathLike) -> epath.Path | None:
    """The folder in which TFDS prepared `name[/config][:version]` below `data_dir`, if any.

    TFDS's own search would do, but importing TFDS costs a second and this is asked at every call.
    Without a version the newest is taken, as TFDS does.
    """
    name, _, version = dataset.partition(":")
    root = epath.Path(data_dir).expanduser() / name
    if version:
        candidates = [root / version]
    elif root.is_dir():
        candidates = sorted((p for p in root.iterdir() if _version(p)), key=_version)
    else:
        candidates = []
    prepared = [path for path in candidates if (path / "dataset_info.json").exists()]
    return prepared[-1] if prepared else None


def _version(path: epath.Path) -> tuple[int, ...]:
    """(3, 0, 1) of .../3.0.1; () where the name is no version."""
    parts = path.name.split(".")
    return tuple(map(int, parts)) if len(parts) == 3 and all(map(str.isdigit, parts)) else ()


def _tfds_names() -> list[str]:
    """The names TFDS knows, in the version this project pins; asking TFDS costs a second."""
    return resources.files("components.sources").joinpath("tfds_names.txt").read_text().split()
