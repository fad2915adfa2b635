"""Where results are kept that a command can compute again, for its next run by the same user."""

import os

from etils import epath


def directory(name: str) -> epath.Path:
    """The directory of one kind of results, which may not exist: below `$XDG_CACHE_HOME`.

    Args:
      name: the kind, such as `precision`.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return epath.Path(home) / "vae_pipeline" / name
