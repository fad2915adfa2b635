"""Stages killed at random moments: the same command continues and publishes the same bytes."""

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

import numpy as np
import pytest

from components.model import vae
from tests.conftest import ROOT, limited, module_command
from tests.pipeline.prepare.test_stage import published_files

KILLS = 20
ARGUMENTS = ("--dataset", "synthetic_garments", "--synthetic_size", 9000, "--shard_bytes", 1 << 20)


def start_prepare(output: Path) -> subprocess.Popen:
    arguments = ("prepare", *ARGUMENTS, "--output", output)
    return subprocess.Popen(
        limited(module_command("pipeline", *arguments)),
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_prepare_killed_at_random_moments_publishes_the_same_bytes(tmp_path):
    started = time.monotonic()
    assert start_prepare(tmp_path / "uninterrupted").wait() == 0
    duration = time.monotonic() - started
    expected = published_files(tmp_path / "uninterrupted")
    moments = random.Random(0)
    killed = 0
    for number in range(KILLS):
        output = tmp_path / str(number)
        process = start_prepare(output)
        try:
            process.wait(timeout=moments.uniform(0, duration))
        except subprocess.TimeoutExpired:
            process.kill()
        killed += process.wait() == -signal.SIGKILL
        assert start_prepare(output).wait() == 0
        assert published_files(output) == expected
        assert [path.name for path in tmp_path.glob(f"{number}.*")] == []
    assert killed > KILLS // 2


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_embed_killed_between_its_shards_continues_with_the_missing_ones(model_dir, tmp_path):
    arrays = tmp_path / "arrays.npz"
    np.savez(arrays, images=np.random.default_rng(0).integers(0, 256, (6000, 28, 28), np.uint8))

    def start(output: Path) -> subprocess.Popen:
        # About 47 shards.
        arguments = ("--input", arrays, "--shard_bytes", 100_000, "--model", model_dir)
        return subprocess.Popen(
            limited(module_command("pipeline", "embed", *arguments, "--output", output)),
            cwd=ROOT,
            stderr=subprocess.DEVNULL,
        )

    def done(output: Path) -> int:
        return len(list(output.with_name(f"{output.name}.draft").glob("*.done.json")))

    assert start(tmp_path / "uninterrupted").wait() == 0
    expected = published_files(tmp_path / "uninterrupted")
    moments = random.Random(0)
    counts = []
    for number in range(KILLS // 5):
        output = tmp_path / str(number)
        for _ in range(5):
            before = done(output)
            target = before + moments.randint(1, 4)
            process = start(output)
            while not (has_ended(process) or done(output) >= target):
                pass
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=moments.uniform(0, 0.02))
            process.kill()
            process.wait()
            counts.append(done(output))
            assert process.returncode == -signal.SIGKILL
            assert counts[-1] >= target
        assert start(output).wait() == 0
        assert published_files(output) == expected
    assert len(counts) == KILLS


# A checkpoint follows every call of steps, so most kills come while one is written.
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


def has_ended(process: subprocess.Popen) -> bool:
    """Whether a process has ended; waits for one millisecond, so it does not take its processor."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=0.001)
    return process.returncode is not None


class Training:
    """A training run that is killed and started again until its output is published."""

    def __init__(self, examples: Path, output: Path):
        options = [f"--{name}={value}" for name, value in TRAINING.items()]
        self._command = module_command(
            "trainer", "--examples", examples, "--output", output, *options
        )
        self._output = output
        self._draft = output.with_name(f"{output.name}.draft")

    def start(self) -> subprocess.Popen:
        return subprocess.Popen(
            limited(self._command),
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self) -> None:
        """Runs the trainer to its end."""
        process = self.start()
        _, errors = process.communicate()
        assert process.returncode == 0, errors

    def kill(self, moment_after: Callable[[float], Moment], value: float) -> bool:
        """Runs the trainer and kills it at a moment; returns whether that was before its end."""
        process = self.start()
        moment = moment_after(value)
        while not (has_ended(process) or moment()):
            pass
        process.kill()
        _, errors = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), errors
        return process.returncode != 0

    def step(self) -> int:
        """The step of the newest checkpoint; 0 if there is none."""
        steps = [name[5:-5] for name in self._checkpoints() if re.match(r"step-\d+\.ckpt$", name)]
        return max(map(int, steps), default=0)

    def starting(self, seconds: float) -> Moment:
        """The given seconds after the start, or at the first new checkpoint if that is earlier."""
        end, step = time.monotonic() + seconds, self.step()
        return lambda: time.monotonic() >= end or self.step() > step

    def done(self, step: float) -> Moment:
        """A checkpoint of this step or a later one exists."""
        return lambda: self.step() >= step

    def writing(self, step: float) -> Moment:
        """After this step, a checkpoint is being written."""
        return lambda: self.step() >= step and any(".tmp" in name for name in self._checkpoints())

    def between(self, step: float) -> Moment:
        """After this step, a new best checkpoint exists, but not yet the one of the last step."""
        seen: set[int] = set()

        def moment() -> bool:
            if self.step() >= step:
                seen.update(i for name, i in self._checkpoints().items() if name == "best.ckpt")
            return len(seen) > 1

        return moment

    def saving(self, _: float) -> Moment:
        """The model file exists, complete or not."""
        return (self._draft / "model.keras").exists

    def publishing(self, _: float) -> Moment:
        """The manifest exists, complete or not."""
        return (self._draft / "manifest.json").exists

    def _checkpoints(self) -> dict[str, int]:
        """Inodes of the checkpoint files in the draft or, once published, the output, by name."""
        # The draft is looked for first: a process may publish it between the two looks.
        for directory in (self._draft, self._output):
            try:
                with os.scandir(directory / "checkpoints") as entries:
                    return {entry.name: entry.inode() for entry in entries}
            except FileNotFoundError:
                continue
        return {}

    def moments(
        self, rng: random.Random, *, start_up: float, steps: int
    ) -> list[tuple[Callable[[float], Moment], float]]:
        """Ten moments in the order in which a run reaches them, two of them in a start-up.

        Args:
          rng: generator of random choices.
          start_up: seconds from the start of a process to its first checkpoint.
          steps: number of steps of the whole run.
        """
        kinds = [self.done, self.writing, self.between] * 2
        rng.shuffle(kinds)
        # Not in the last fifth of the run, which may have no new best.
        after_steps = sorted(rng.sample(range(steps * 4 // 5), len(kinds)))
        moments = list(zip(kinds, after_steps, strict=True))
        for index in (0, rng.randrange(1, len(moments))):
            moments.insert(index, (self.starting, rng.uniform(0, start_up)))
        return [*moments, (self.done, steps), (rng.choice([self.saving, self.publishing]), 0)]


def learned_digests(model: Path) -> dict[str, str]:
    """Digests of the checkpoints, metrics and weights of a run, by name."""
    contents = {path.name: path.read_bytes() for path in model.glob("checkpoints/*")}
    contents["metrics.jsonl"] = (model / "metrics.jsonl").read_bytes()
    for number, weights in enumerate(vae.load(model / "model.keras").get_weights()):
        contents[f"weights {number}"] = weights.tobytes()
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_training_killed_at_random_moments_gives_bit_identical_results(examples_dir, tmp_path):
    uninterrupted = Training(examples_dir, tmp_path / "uninterrupted")
    started = time.monotonic()
    process = uninterrupted.start()
    while not (has_ended(process) or uninterrupted.step()):
        pass
    start_up = time.monotonic() - started
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    expected = learned_digests(tmp_path / "uninterrupted")
    steps = max(int(name[5:-5]) for name in expected if name.startswith("step-"))
    assert "best.ckpt" in expected
    rng = random.Random(0)
    killed = 0
    for number in range(CHAINS):
        training = Training(examples_dir, tmp_path / str(number))
        for moment_after, value in training.moments(rng, start_up=start_up, steps=steps):
            step_before = training.step()
            if training.kill(moment_after, value):
                killed += 1
                assert training.step() >= step_before
        training.finish()
        assert learned_digests(tmp_path / str(number)) == expected
        assert [path.name for path in tmp_path.glob(f"{number}.*")] == []
    # The last moment of each run may come after its end.
    assert killed >= KILLS - CHAINS
