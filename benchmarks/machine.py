"""A description of the machine that the figures were measured on. Linux only."""

import hashlib
import os
import platform
import time
import zlib
from collections.abc import Callable, Sequence
from importlib import metadata

from components.base import processor
from pipeline.beam.worker_pool import num_cores

PACKAGES = ("numpy", "apache-beam", "tensorflow", "tensorflow-datasets", "pillow")
_MATMUL_SIZE = 2048
_TIMED_CALLS = 5


def description(packages: Sequence[str] = PACKAGES) -> list[list[str]]:
    """The properties of this machine that affect speed: rows of a table with two columns.

    Args:
      packages: distributions whose versions are reported.
    """
    installed = {
        distribution.name.lower(): distribution.version for distribution in metadata.distributions()
    }
    versions = ", ".join(f"{name} {installed.get(name, 'absent')}" for name in packages)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return [
        ["CPU", f"{processor.model() or platform.machine()}, {num_cores()} cores"],
        ["memory", f"{memory:.1f} GiB"],
        ["system", platform.platform()],
        ["Python", f"{platform.python_version()}; {versions}"],
        ["load before", f"{os.getloadavg()[0]:.2f}"],
        ["one core's speed", _core_speed()],
    ]


def matmul_rate() -> float:
    """float32 operations per second of a product of large matrices in TensorFlow, on all cores."""
    import tensorflow as tf

    factor = tf.random.stateless_normal((_MATMUL_SIZE, _MATMUL_SIZE), seed=(0, 0))
    # `numpy()` waits for the product: on other devices `matmul` returns before it is computed.
    seconds = _fastest_call(lambda: tf.matmul(factor, factor).numpy())
    return 2 * _MATMUL_SIZE**3 / seconds


def _core_speed() -> str:
    """The speed of three fixed computations, by which machines can be compared."""
    data = bytes(i * i >> 7 & 0xFF for i in range(1 << 20))

    def loop() -> None:
        value = 0
        for i in range(2_000_000):
            value = (value + i) & 0xFFFF

    megabytes = len(data) / 1e6
    return (
        f"Python loop {2 / _fastest_call(loop):.0f} M rounds/s, "
        f"zlib level 6 {megabytes / _fastest_call(lambda: zlib.compress(data, 6)):.0f} MB/s, "
        f"SHA-256 {megabytes / _fastest_call(lambda: hashlib.sha256(data).digest()):,.0f} MB/s"
    )


def _fastest_call(function: Callable[[], object]) -> float:
    """Seconds of the fastest of several calls."""
    seconds = []
    for _ in range(_TIMED_CALLS):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
