"""Stages killed at any moment: the same command goes on, and publishes the same bytes."""

import contextlib
import hashlib
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from components.model import vae
from tests.conftest import ROOT, command
from tests.pipeline.prepare.test_stage import everything

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


# Checkpoints after every call of steps, so that most kills meet the writing of one.
TRAINING = {
    "epochs": 60,
    "widths": 16,
    "batch_size": 50,
    "warmup_steps": 0,
    "optimizer": "adam",
    "ema_decay": 0.99,
    "keep": "best",
    "steps_per_call": 4,
    "checkpoint_seconds": 0,
}
CHAINS = 2  # output directories, each killed several times
Moment = Callable[[], bool]


def ended(process: subprocess.Popen) -> bool:
    """Whether a process has ended; looks for a millisecond, and leaves it the processor."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=0.001)
    return process.returncode is not None


class Training:
    """The trainer on its way to an output directory, over as many processes as it takes."""

    def __init__(self, examples: Path, output: Path):
        options = [f"--{name}={value}" for name, value in TRAINING.items()]
        self._command = command("trainer", "--examples", examples, "--output", output, *options)
        self._draft = output.with_name(f"{output.name}.draft")

    def start(self) -> subprocess.Popen:
        return subprocess.Popen(self._command, cwd=ROOT, stderr=subprocess.PIPE, text=True)

    def finish(self) -> str:
        """Goes on to the end; returns what was said."""
        process = self.start()
        _, said = process.communicate()
        assert process.returncode == 0, said
        return said

    def kill(self, when: Callable[[float], Moment], value: float) -> bool:
        """Goes on until a moment, then kills; returns whether that was before the end."""
        process = self.start()
        moment = when(value)
        while not (ended(process) or moment()):
            pass
        process.kill()
        _, said = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), said
        return process.returncode != 0

    def step(self) -> int:
        """Of the newest checkpoint; 0 without one."""
        steps = [name[5:-5] for name in self._checkpoints() if re.match(r"step-\d+\.ckpt$", name)]
        return max(map(int, steps), default=0)

    def starting(self, seconds: float) -> Moment:
        """Some time after the start, while there is nothing to see yet."""
        end, step = time.monotonic() + seconds, self.step()
        return lambda: time.monotonic() >= end or self.step() > step

    def done(self, step: float) -> Moment:
        """A checkpoint of this step, or of a later one, is there."""
        return lambda: self.step() >= step

    def writing(self, step: float) -> Moment:
        """After this step, a checkpoint is half written."""
        return lambda: self.step() >= step and any(".tmp" in name for name in self._checkpoints())

    def between(self, step: float) -> Moment:
        """After this step, a new best is there and its step's own checkpoint is not yet."""
        seen: set[int] = set()

        def moment() -> bool:
            if self.step() >= step:
                seen.update(i for name, i in self._checkpoints().items() if name == "best.ckpt")
            return len(seen) > 1

        return moment

    def saving(self, _: float) -> Moment:
        """The model is there, whole or not."""
        return (self._draft / "model.keras").exists

    def publishing(self, _: float) -> Moment:
        """The manifest is there, whole or not."""
        return (self._draft / "manifest.json").exists

    def _checkpoints(self) -> dict[str, int]:
        """Inodes of the files in the unfinished run's checkpoints, by name."""
        try:
            with os.scandir(self._draft / "checkpoints") as entries:
                return {entry.name: entry.inode() for entry in entries}
        except FileNotFoundError:
            return {}

    def moments(
        self, rng: random.Random, *, start_up: float, steps: int
    ) -> list[tuple[Callable[[float], Moment], float]]:
        """Ten of them in the order in which a run meets them, but that every start-up is one."""
        kinds = [self.done, self.writing, self.between] * 2
        rng.shuffle(kinds)
        # Not in the last epochs, which may bring no new best.
        reached = sorted(rng.sample(range(steps * 4 // 5), len(kinds)))
        moments = list(zip(kinds, reached, strict=True))
        for place in (0, rng.randrange(1, len(moments))):
            moments.insert(place, (self.starting, rng.uniform(0, start_up)))
        return [*moments, (self.done, steps), (rng.choice([self.saving, self.publishing]), 0)]


def learnt(model: Path) -> dict[str, str]:
    """Digests of all that a run learnt and recorded, by name."""
    contents = {path.name: path.read_bytes() for path in model.glob("checkpoints/*")}
    contents["metrics.jsonl"] = (model / "metrics.jsonl").read_bytes()
    for number, weights in enumerate(vae.load(model / "model.keras").get_weights()):
        contents[f"weights {number}"] = weights.tobytes()
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_training_killed_at_random_moments_learns_the_same_bits(examples_dir, tmp_path):
    whole = Training(examples_dir, tmp_path / "whole")
    began = time.monotonic()
    process = whole.start()
    while not (ended(process) or whole.step()):
        pass
    start_up = time.monotonic() - began
    _, said = process.communicate()
    assert process.returncode == 0, said
    expected = learnt(tmp_path / "whole")
    steps = max(int(name[5:-5]) for name in expected if name.startswith("step-"))
    assert "best.ckpt" in expected
    rng = random.Random(0)
    killed = 0
    for number in range(CHAINS):
        training = Training(examples_dir, tmp_path / str(number))
        for when, value in training.moments(rng, start_up=start_up, steps=steps):
            before = training.step()
            if training.kill(when, value):
                killed += 1
                assert training.step() >= before
        training.finish()
        assert learnt(tmp_path / str(number)) == expected
        assert [path.name for path in tmp_path.glob(f"{number}.*")] == []
    # The very last moment of each may come too late.
    assert killed >= KILLS - CHAINS
