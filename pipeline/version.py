"""The version of this project."""

from pathlib import Path

DISTRIBUTION = "vae-pipeline"
UNKNOWN = "unknown"
_PROJECT = Path(__file__).parent.parent / "pyproject.toml"


def installed_version(*, project: Path = _PROJECT) -> str:
    """The version of the installed package or, if there is none, of the repository.

    Args:
      project: the file of the repository that names it.

    Returns:
      `unknown` where neither is there.
    """
    # Imported here, since every command starts with this module.
    import importlib.metadata
    import tomllib

    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        pass
    try:
        return str(tomllib.loads(project.read_text("utf-8"))["project"]["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return UNKNOWN
