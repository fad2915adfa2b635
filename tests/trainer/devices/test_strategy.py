import hashlib
import json
import sys

import numpy as np
import pytest

from components.base.errors import ConfigError
from tests.conftest import ends
from trainer.devices import strategy
from trainer.devices.strategy import Agreement


@pytest.mark.parametrize("replicas", [1, 2])
def test_replicas_on_logical_cpus(replicas):
    assert strategy.create(replicas).num_replicas_in_sync == replicas


def test_all_there_is_by_default():
    assert strategy.create(0).num_replicas_in_sync == 1


def test_more_devices_than_there_are():
    with pytest.raises(ConfigError, match="fewer than 3 CPU devices"):
        strategy.create(3)


def two_hosts(monkeypatch) -> None:
    workers = ["one:1", "other:1"]
    task = {"type": "worker", "index": 0}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": workers}, "task": task}))


def test_several_replicas_on_hosts_without_gpus_are_refused(monkeypatch):
    two_hosts(monkeypatch)
    create = strategy.create.__wrapped__  # Not the one that the tests share.
    with pytest.raises(ConfigError, match="replicas=2 on 2 hosts without GPUs: each has one"):
        create(2)


def awkward() -> dict[str, np.ndarray]:
    """Arrays whose bits are easily lost on the way through floating-point numbers."""
    rng = np.random.default_rng(0)
    payloads = np.array([0x7FC12345, 0xFF800001, 0x7F800000, 0x00000001, 0x80000000], np.uint32)
    return {
        "any bits": rng.integers(0, 2**32, (7, 3), dtype=np.uint32).view(np.float32),
        "nan, inf, subnormal, -0.0": payloads.view(np.float32),
        "int64": np.array([2**63 - 1, -(2**63), 2**53 + 1, -1]),
        "step": np.array(12345678901, np.int64),
        "loss_scale": np.array(2.0**15, np.float32),
        "good_steps": np.array(3, np.int32),
        "sums": np.array([-0.0, np.pi]),
        "transposed": rng.normal(size=(4, 2)).astype(np.float32).T,
        "empty": np.zeros((0, 3), np.float32),
    }


def described(arrays: dict[str, np.ndarray]) -> dict[str, list]:
    """Names, types, shapes and bits."""
    return {
        name: [str(array.dtype), list(array.shape), hashlib.sha256(array.tobytes()).hexdigest()]
        for name, array in arrays.items()
    }


def test_one_host_agrees_with_itself():
    agreement = Agreement(strategy.create(1))
    assert (agreement.any(True), agreement.any(False)) == (True, False)
    assert described(agreement.from_chief(awkward())) == described(awkward())


PROGRAM = """
import sys
import numpy as np
from components.base import tensorflow_setup

tensorflow_setup.load()
from trainer.devices import strategy
from trainer.devices.hosts import host

agreement = strategy.Agreement(strategy.create(0))
index, directory = host().index, sys.argv[1]
with np.load(f"{directory}/given.npz") as given:
    arrays = dict(given) if host().is_chief else {n: np.ones_like(a) for n, a in given.items()}
wishes = [(False, False), (True, False), (False, True), (True, True)]
agreed = [agreement.any(wish[index]) for wish in wishes]
np.savez(f"{directory}/{index}.npz", **agreement.from_chief(arrays), any=agreed)
"""


def test_two_hosts_agree_to_the_bit(on_two_hosts, tmp_path):
    np.savez(tmp_path / "given.npz", **awkward())
    for end in ends(on_two_hosts([sys.executable, "-c", PROGRAM, tmp_path])):
        assert end.returncode == 0, end.stderr
    for index in range(2):
        with np.load(tmp_path / f"{index}.npz") as file:
            agreed = dict(file)
        assert agreed.pop("any").tolist() == [False, True, True, True]
        assert described(agreed) == described(awkward())
