import pytest

from components.errors import ConfigError
from trainer import strategy


@pytest.mark.parametrize("replicas", [1, 2])
def test_replicas_on_logical_cpus(replicas):
    assert strategy.create(replicas).num_replicas_in_sync == replicas


def test_all_there_is_by_default():
    assert strategy.create(0).num_replicas_in_sync == 1


def test_more_devices_than_there_are():
    with pytest.raises(ConfigError, match="fewer than 3 CPU devices"):
        strategy.create(3)
