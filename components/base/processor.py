"""Facts about the machine's processors, from Linux."""

from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")
# The instructions of x86 processors that multiply in bfloat16.
_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}


def model() -> str:
    """The name of the first processor's model; empty if the system does not say."""
    return _field("model name")


def has_bfloat16() -> bool:
    """Whether the processors multiply in bfloat16. Others are much slower in it than in float32."""
    return not _BFLOAT16_FLAGS.isdisjoint(_field("flags").split())


def _field(name: str) -> str:
    """The first value of a field in /proc/cpuinfo; empty if there is none."""
    if not _CPU_INFO.exists():
        return ""
    for line in _CPU_INFO.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""
