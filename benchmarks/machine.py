"""The machine that figures were measured on. Linux only."""

import hashlib
import os
import platform
import time
import zlib
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

PACKAGES = ("numpy", "apache-beam", "tensorflow", "tensorflow-datasets", "pillow")
_MATMUL_SIZE = 2048


def num_cores() -> int:
    return len(os.sched_getaffinity(0))


def described(packages: Sequence[str] = PACKAGES) -> list[list[str]]:
    """What tells this machine from another: rows of a table."""
    versions = {each.name.lower(): each.version for each in metadata.distributions()}
    found = ", ".join(f"{name} {versions.get(name, 'absent')}" for name in packages)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return [
        ["CPU", f"{_cpu()}, {num_cores()} cores"],
        ["memory", f"{memory:.1f} GiB"],
        ["system", platform.platform()],
        ["Python", f"{platform.python_version()}; {found}"],
        ["load before", f"{os.getloadavg()[0]:.2f}"],
        ["one core's speed", _speed()],
    ]


def matmul_rate() -> float:
    """float32 operations per second in a product of large matrices, by TensorFlow on all cores."""
    import tensorflow as tf

    factor = tf.random.stateless_normal((_MATMUL_SIZE, _MATMUL_SIZE), seed=(0, 0))
    # Its value is asked for: on other devices the call returns before the product is there.
    return 2 * _MATMUL_SIZE**3 / _best(lambda: tf.matmul(factor, factor).numpy())


def _cpu() -> str:
    models = [
        line
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return models[0].partition(":")[2].strip() if models else platform.machine()


def _speed() -> str:
    """Figures of fixed work, by which those of different machines can be compared."""
    data = bytes(i * i >> 7 & 0xFF for i in range(1 << 20))

    def loop() -> None:
        value = 0
        for i in range(2_000_000):
            value = (value + i) & 0xFFFF

    megabytes = len(data) / 1e6
    return (
        f"Python loop {2 / _best(loop):.0f} M rounds/s, "
        f"zlib level 6 {megabytes / _best(lambda: zlib.compress(data, 6)):.0f} MB/s, "
        f"SHA-256 {megabytes / _best(lambda: hashlib.sha256(data).digest()):,.0f} MB/s"
    )


def _best(function: Callable[[], object]) -> float:
    """Seconds of the fastest of some calls."""
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
