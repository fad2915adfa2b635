"""Checks that a path leads to a file that can be read to its end."""

import os

from etils import epath

from components.base import files
from components.base.errors import ConfigError, WorkError
from components.sources.escaping import escape


def check_regular(path: epath.Path) -> None:
    """Checks that a path is not that of a pipe, a socket or a device, from which reads may not end.

    Raises:
      ConfigError: it is.
    """
    if files.is_remote(path) or not os.path.exists(path):
        return
    try:
        files.check_regular(path)
    except WorkError as error:
        raise ConfigError(escape(str(error))) from None
