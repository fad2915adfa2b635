import signal

import pytest

from trainer.signals import deferred_stop


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_asks_and_the_second_acts(number, capfd):
    acted = []
    before = signal.signal(number, lambda *_: acted.append(number))
    try:
        with deferred_stop() as stop:
            assert stop.name is None
            signal.raise_signal(number)
            assert (stop.name, acted) == (number.name, [])
            assert "again to stop at once" in capfd.readouterr().err
            signal.raise_signal(number)
            assert acted == [number]
        signal.raise_signal(number)
        assert acted == [number] * 2  # The handler of before stands again.
    finally:
        signal.signal(number, before)
