import pytest

from components.base import memory
from components.base.errors import ConfigError
from components.base.memory import check_load, free_memory


def machine(root, *, available=None, groups="", limits=None) -> int:
    """The free memory that a machine with the given system files reports.

    Args:
      root: directory to write the system files to.
      available: available memory in KiB; None if the machine does not report it.
      groups: content of `/proc/self/cgroup`.
      limits: content of files below `/sys/fs/cgroup`, by path.
    """
    (root / "proc/self").mkdir(parents=True)
    if available is not None:
        text = f"MemTotal:  99999999 kB\nMemAvailable:   {available} kB\nHugePages_Total:   0\n"
        (root / "proc/meminfo").write_text(text)
    (root / "proc/self/cgroup").write_text(groups)
    for name, limit in (limits or {}).items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{limit}\n")
    return free_memory(proc=root / "proc", sys=root / "sys")


KIB = 1 << 10


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, 4 << 30),
        ({"available": 5000}, 5000 * KIB),
        ({"available": 5000, "groups": "0::/\n", "limits": {"memory.max": "max"}}, 5000 * KIB),
        ({"available": 5000, "groups": "0::/\n", "limits": {"memory.max": 4096}}, 4096),
        ({"available": 1, "groups": "0::/\n", "limits": {"memory.max": 4096}}, KIB),
        (
            {"groups": "0::/job/step\n", "limits": {"job/step/memory.max": "max",
             "job/memory.max": 777, "memory.max": 888}},
            777,
        ),
        (
            {"groups": "5:cpu,cpuacct:/a\n4:memory:/docker/b\n0::/\n",
             "limits": {"memory/memory.limit_in_bytes": 555, "cpu/memory.limit_in_bytes": 1}},
            555,
        ),
    ],
)  # fmt: skip
def test_free_memory_is_the_smallest_limit(tmp_path, fields, expected):
    assert machine(tmp_path, **fields) == expected


def test_free_memory_of_this_machine_is_plausible():
    assert 1 << 20 < free_memory() < 1 << 50


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.00 kB"), (2_500_000, "2.50 MB"),
     (3_210_000_000_000, "3,210.00 GB")],
)  # fmt: skip
def test_sizes_have_two_decimals_of_the_largest_unit(size, text):
    assert memory.format_bytes(size) == text


def test_what_is_larger_than_the_limit_is_refused_with_the_limit_that_it_needs():
    check_load("a.npz: y", 2_000_000, limit=2_000_000)
    with pytest.raises(ConfigError) as caught:
        check_load("a.npz: y", 2_000_001, limit=2_000_000)
    for part in (
        "a.npz: y would take 2.00 MB",
        "--load_bytes 2000000 allows",
        "--load_bytes 2000001",
    ):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
