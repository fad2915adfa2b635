import hashlib
import sys

import numpy as np

from tests.conftest import wait_for_all
from trainer.devices import strategy
from trainer.devices.collectives import HostCollectives


def awkward_arrays() -> dict[str, np.ndarray]:
    """Arrays whose bits are easily lost by a conversion to floating-point numbers."""
    rng = np.random.default_rng(0)
    special = np.array([0x7FC12345, 0xFF800001, 0x7F800000, 0x00000001, 0x80000000], np.uint32)
    return {
        "random bits": rng.integers(0, 2**32, (7, 3), dtype=np.uint32).view(np.float32),
        "nan, inf, subnormal, -0.0": special.view(np.float32),
        "int64": np.array([2**63 - 1, -(2**63), 2**53 + 1, -1]),
        "step": np.array(12345678901, np.int64),
        "loss_scale": np.array(2.0**15, np.float32),
        "good_steps": np.array(3, np.int32),
        "sums": np.array([-0.0, np.pi]),
        "transposed": rng.normal(size=(4, 2)).astype(np.float32).T,
        "empty": np.zeros((0, 3), np.float32),
    }


def described(arrays: dict[str, np.ndarray]) -> dict[str, list]:
    """The type, shape and bits of each array."""
    return {
        name: [str(array.dtype), list(array.shape), hashlib.sha256(array.tobytes()).hexdigest()]
        for name, array in arrays.items()
    }


def test_a_single_host_gets_its_own_values():
    hosts = HostCollectives(strategy.create(1))
    assert (hosts.any(True), hosts.any(False)) == (True, False)
    assert described(hosts.broadcast_from_chief(awkward_arrays())) == described(awkward_arrays())
    hosts.barrier()


PROGRAM = """
import sys
import numpy as np
from components.base import tensorflow_setup

tensorflow_setup.load()
from trainer.devices import strategy
from trainer.devices.collectives import HostCollectives
from trainer.devices.hosts import host

hosts = HostCollectives(strategy.create(0))
index, directory = host().index, sys.argv[1]
with np.load(f"{directory}/chief.npz") as file:
    arrays = dict(file) if host().is_chief else {n: np.ones_like(a) for n, a in file.items()}
flags = [(False, False), (True, False), (False, True), (True, True)]
answers = [hosts.any(pair[index]) for pair in flags]
received = hosts.broadcast_from_chief(arrays)
hosts.barrier()
np.savez(f"{directory}/{index}.npz", **received, any=answers)
"""


def test_two_hosts_get_the_chiefs_arrays_bit_for_bit(on_two_hosts, tmp_path):
    np.savez(tmp_path / "chief.npz", **awkward_arrays())
    for done in wait_for_all(on_two_hosts([sys.executable, "-c", PROGRAM, tmp_path])):
        assert done.returncode == 0, done.stderr
    for index in range(2):
        with np.load(tmp_path / f"{index}.npz") as file:
            received = dict(file)
        assert received.pop("any").tolist() == [False, True, True, True]
        assert described(received) == described(awkward_arrays())
