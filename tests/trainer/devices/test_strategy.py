import json

import pytest

from components.base.errors import ConfigError
from trainer.devices import strategy


@pytest.mark.parametrize("replicas", [1, 2])
def test_replicas_on_logical_cpu_devices(replicas):
    assert strategy.create(replicas).num_replicas_in_sync == replicas


def test_without_gpus_the_default_is_one_replica():
    assert strategy.create(0).num_replicas_in_sync == 1


def test_there_is_one_strategy_over_the_same_devices():
    assert strategy.create(0) is strategy.create(1)
    assert strategy.create(2) is strategy.create(2)


def test_the_cpu_is_left_as_it_is_once_tensorflow_has_started():
    strategy.create(2)
    strategy.split_cpu(3)
    with pytest.raises(ConfigError, match="fewer than 3 CPU devices; choose fewer replicas"):
        strategy.create(3)


def test_more_replicas_than_devices_are_rejected():
    with pytest.raises(ConfigError, match="fewer than 3 CPU devices"):
        strategy.create(3)


def test_several_replicas_on_hosts_without_gpus_are_rejected(monkeypatch):
    cluster = {"worker": ["one:1", "other:1"]}
    task = {"type": "worker", "index": 0}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    with pytest.raises(ConfigError, match="replicas=2 on 2 hosts without GPUs: each has one"):
        strategy.create(2)
