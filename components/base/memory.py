"""How much memory this process may use."""

import pathlib

_UNKNOWN_MEMORY = 4 << 30


def free_memory(
    *, proc: pathlib.Path = pathlib.Path("/proc"), sys: pathlib.Path = pathlib.Path("/sys")
) -> int:
    """Bytes that a process may claim: what the machine has free, or its control group's limit."""
    found = [
        int(line.split()[1]) << 10
        for line in _lines(proc / "meminfo")
        if line.startswith("MemAvailable:")
    ]
    for line in _lines(proc / "self/cgroup"):
        _, controllers, group = line.split(":", 2)
        root, file = sys / "fs/cgroup", "memory.max"
        if controllers == "memory":  # The older kind, a tree for each controller.
            root, file = root / "memory", "memory.limit_in_bytes"
        # A limit holds for all below; in a container the path may be another than is mounted there.
        folder = root / group.strip("/")
        for above in (folder, *folder.parents[: len(folder.relative_to(root).parts)]):
            found += [int(limit) for limit in _lines(above / file) if limit != "max"]
    return min(found, default=_UNKNOWN_MEMORY)


def _lines(path: pathlib.Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
