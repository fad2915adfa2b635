"""Settings of fsspec, through which epath reads and writes object stores without TensorFlow."""

import os
import sys

# By the name of a file system of fsspec.
_SETTINGS: dict[str, dict[str, bool | int]] = {
    # With cached listings, a process does not see the files that others add to a directory after
    # it has listed it once. A block is what is read ahead, and a part of an upload. With 50 MB, the
    # default for S3, reading the index of a file would often read the whole file.
    "s3": {"use_listings_cache": False, "default_block_size": 8 << 20},
    "gs": {"use_listings_cache": False},
    "gcs": {"use_listings_cache": False},
}


def configure() -> None:
    """Makes fsspec use these settings, unless the user has chosen others.

    Importing fsspec takes time, so that is left to epath, if it needs it. Until then, environment
    variables say what fsspec is to use.
    """
    config = sys.modules.get("fsspec.config")
    for file_system, settings in _SETTINGS.items():
        for name, value in settings.items():
            if config is not None:
                config.conf.setdefault(file_system, {}).setdefault(name, value)
            else:
                # As JSON, which fsspec converts.
                variable = f"FSSPEC_{file_system}_{name}".upper()
                os.environ.setdefault(variable, str(value).lower())
