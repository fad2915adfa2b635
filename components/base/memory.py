"""The memory that this process may use."""

import pathlib

from components.base.errors import ConfigError

# Default limit on what is loaded from a file at once: enough for any image, and for the labels of
# 33 million images.
LOAD_BYTES = 256 << 20
_DEFAULT_BYTES = 4 << 30


def free_memory(
    *, proc: pathlib.Path = pathlib.Path("/proc"), sys: pathlib.Path = pathlib.Path("/sys")
) -> int:
    """The memory that this process may use, in bytes.

    It is the smallest of the machine's available memory and the limits of the control groups that
    this process belongs to; 4 GiB if none of them is known.

    Args:
      proc: where the proc file system is mounted.
      sys: where the sys file system is mounted.
    """
    limits = [
        int(line.split()[1]) << 10  # The unit is KiB, although the file says kB.
        for line in _read_lines(proc / "meminfo")
        if line.startswith("MemAvailable:")
    ]
    for line in _read_lines(proc / "self/cgroup"):
        _, controllers, group = line.split(":", 2)
        root, file = sys / "fs/cgroup", "memory.max"
        if controllers == "memory":  # Version 1 of control groups has a tree per controller.
            root, file = root / "memory", "memory.limit_in_bytes"
        # The limit of a group applies to all groups below it. In a container, the path may be the
        # host's, of which only the root is mounted: directories that do not exist are skipped.
        directory = root / group.strip("/")
        depth = len(directory.relative_to(root).parts)
        for ancestor in (directory, *directory.parents[:depth]):
            limits += [int(limit) for limit in _read_lines(ancestor / file) if limit != "max"]
    return min(limits, default=_DEFAULT_BYTES)


def check_load(name: str, size: int, *, limit: int) -> None:
    """Checks the size of something that must be loaded as a whole, before it is read.

    A small compressed file may hold, or claim to hold, far more than fits into memory.

    Args:
      name: what is to be loaded, and from where, for the message.
      size: in bytes of memory.
      limit: the most bytes that may be loaded, the value of --load_bytes.

    Raises:
      ConfigError: the size is above the limit.
    """
    if size > limit:
        raise ConfigError(
            f"{name} would take {format_bytes(size)} of memory at once, more than --load_bytes "
            f"{limit} allows; restore the file, or if it is right, pass --load_bytes {size} "
            f"({format_bytes(free_memory())} is free)"
        )


def format_bytes(size: int) -> str:
    """A size with two decimals of the largest unit that fits."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:,.2f} {unit}"
    return f"{size} bytes"


def _read_lines(path: pathlib.Path) -> list[str]:
    """The lines of a file; empty if it cannot be read."""
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
