"""Prepare killed at any moment: the next call publishes the same bytes."""

import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, command
from tests.pipeline.test_prepare import everything

KILLS = 20
ARGUMENTS = ("--dataset", "synthetic_garments", "--synthetic_size", 9000, "--shard_bytes", 1 << 20)


def start(output: Path) -> subprocess.Popen:
    arguments = ("prepare", *ARGUMENTS, "--output", output)
    return subprocess.Popen(command("pipeline", *arguments), cwd=ROOT, stderr=subprocess.DEVNULL)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_prepare_killed_at_random_moments_publishes_the_same_bytes(tmp_path):
    began = time.monotonic()
    assert start(tmp_path / "whole").wait() == 0
    lasted = time.monotonic() - began
    whole = everything(tmp_path / "whole")
    moments = random.Random(0)
    killed = 0
    for number in range(KILLS):
        output = tmp_path / str(number)
        process = start(output)
        try:
            process.wait(timeout=moments.uniform(0, lasted))
        except subprocess.TimeoutExpired:
            process.kill()
        killed += process.wait() == -signal.SIGKILL
        assert start(output).wait() == 0
        assert everything(output) == whole
        assert [path.name for path in tmp_path.glob(f"{number}.*")] == []
    assert killed > KILLS // 2
