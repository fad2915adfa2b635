"""Sources of images, and how the one a user names is found."""

from typing import TYPE_CHECKING

from components.errors import WorkError
from components.sources import catalog

if TYPE_CHECKING:
    from components.sources.base import Source


def resolve(
    dataset: str, *, data_dir: str = "", size: int = 60_000, seed: int = 0
) -> tuple["Source", list[str]]:
    """The source of `dataset`, downloaded where need be, and notes that the user should read.

    `size` and `seed` are those of synthetic_garments. `auto` is fashion_mnist where that is
    prepared or can be downloaded, else synthetic_garments; a name given outright never falls back.

    Raises:
      ConfigError: no such dataset.
      WorkError: it is not prepared and cannot be downloaded.
    """
    data_dir = data_dir or catalog.default_data_dir()
    catalog.check_name(dataset, data_dir)
    if dataset == catalog.GARMENTS:
        from components.sources.garments import GarmentsSource

        return GarmentsSource(size, seed), []
    name = catalog.AUTO_DATASET if dataset == catalog.AUTO else dataset
    from components.sources.tfds_source import TfdsSource, download

    if (path := catalog.find_prepared(name, data_dir)) is not None:
        return TfdsSource(name, path), []
    try:
        return TfdsSource(name, download(name, data_dir)), []
    except WorkError as error:
        if dataset != catalog.AUTO:
            raise
        from components.sources.garments import GarmentsSource

        note = f"dataset auto became {catalog.GARMENTS}, drawn images; the reason: {error}"
        return GarmentsSource(size, seed), [note]
