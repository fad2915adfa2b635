"""Commands stopped and killed at random moments: one line, and the same command goes on."""

import dataclasses
import hashlib
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.base.stop_signals import SIGNALS
from tests.conftest import ROOT, limited, module_command
from tests.pipeline.prepare.test_stage import published_files
from tests.test_kills import has_ended, learned_digests

# The number of signals and of kills of each command. `tests/test_kills.py` kills two of them more
# often.
STOPS = {
    "prepare_with_pool": 12,
    "prepare": 12,
    "train": 9,
    "evaluate": 9,
    "embed": 9,
    "embed_source": 6,
    "verify": 6,
    "run": 6,
}
KILLS = {"evaluate": 9, "embed": 9, "embed_source": 6, "run": 6}
CHAIN = 3  # stops of one command before it runs to its end
# Each command, with the places of its inputs and output, and what its result is.
PREPARE = "pipeline prepare --dataset synthetic_garments --output {output} --synthetic_size"
TINY = "--widths 16 --batch_size 50"
TRAINING = f"{TINY} --epochs 6 --steps_per_call 4"


@dataclasses.dataclass
class Ended:
    """How a command ended: its exit code and its outputs."""

    exit_code: int
    stdout: str
    stderr: str


class Command:
    """A command that runs in a process group of its own."""

    def __init__(self, words: list[str]):
        self._process = subprocess.Popen(
            limited(module_command(*words)),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def _handles_signals(self) -> bool:
        """Whether the first line of the program has run, which installs the handlers."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        caught = int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16)
        return bool(caught >> (signal.SIGTERM - 1) & 1)

    def stop(self, kind: signal.Signals, *, after: float, to_group: bool, times: int) -> Ended:
        """Sends a signal, unless the command has ended by then, and waits for the end.

        Args:
          kind: the signal.
          after: seconds after the first line of the program.
          to_group: send it to all processes of the command, as a terminal does.
          times: how often to send it.
        """
        while not (has_ended(self._process) or self._handles_signals()):
            pass
        try:
            self._process.wait(timeout=after)
        except subprocess.TimeoutExpired:
            for _ in range(times):
                (os.killpg if to_group else os.kill)(self._process.pid, kind)
        return self.end()

    def end(self) -> Ended:
        """Waits until no process holds the outputs of the command any more."""
        stdout, stderr = self._process.communicate(timeout=120)
        return Ended(self._process.returncode, stdout, stderr)


def digests(directory: Path) -> dict[str, str]:
    """Digests of all published files, by name."""
    contents = published_files(directory)
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def digests_of_evaluation(directory: Path) -> dict[str, str]:
    """Digests of what `evaluate` published, whatever the name of the output directory."""
    result = digests(directory)
    # The report shows the command that repeats it, and the manifest has the digest of the report.
    report = (directory / "report.html").read_bytes().replace(bytes(directory), b"OUTPUT")
    result["report.html"] = hashlib.sha256(report).hexdigest()
    del result["manifest.json"]
    return result


def digests_of_run(directory: Path) -> list[dict[str, str]]:
    """Digests of what the three stages published, except for what holds times."""
    evaluation = digests(directory / "evaluation")
    # They name the fingerprint of the model, which its run time is a part of.
    for name in [name for name in evaluation if not name.endswith(".png")]:
        del evaluation[name]
    return [digests(directory / "examples"), learned_digests(directory / "model"), evaluation]


COMMANDS: dict[str, tuple[str, Callable[[Path], Any] | None]] = {
    "prepare_with_pool": (f"{PREPARE} 9000", digests),
    "prepare": (f"{PREPARE} 600", digests),
    "train": (f"trainer --examples {{examples}} --output {{output}} {TRAINING}", learned_digests),
    "evaluate": (
        "pipeline evaluate --examples {examples} --model {model} --output {output}",
        digests_of_evaluation,
    ),
    "embed": ("pipeline embed --input {examples} --model {model} --output {output}", digests),
    "embed_source": (
        "pipeline embed --input {arrays} --shard_bytes 200000 --model {model} --output {output}",
        digests,
    ),
    "verify": (f"trainer verify --replicas 1,2 --steps 4 {TINY}", None),
    "run": (
        "pipeline run --dataset synthetic_garments --synthetic_size 2000 --run {output} "
        f"{TRAINING}",
        digests_of_run,
    ),
}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("name", "stops", "kinds"),
    [
        *((name, stops, SIGNALS) for name, stops in STOPS.items()),
        *((name, kills, (signal.SIGKILL,)) for name, kills in KILLS.items()),
    ],
)
def test_a_command_stopped_at_any_moment_goes_on_to_the_same_result(
    name, stops, kinds, examples_dir, model_dir, tmp_path
):
    template, result = COMMANDS[name]
    arrays = tmp_path / "arrays.npz"
    np.savez(arrays, images=np.random.default_rng(0).integers(0, 256, (3000, 28, 28), np.uint8))

    def command(output: Path) -> Command:
        places = {"examples": examples_dir, "model": model_dir, "arrays": arrays}
        places["output"] = output
        return Command(template.format(**places).split())

    def finish(output: Path) -> Any:
        """Runs the command to its end; returns its result."""
        ended = command(output).end()
        assert ended.exit_code == 0, ended
        return result(output) if result else ended.stdout

    started = time.monotonic()
    expected = finish(tmp_path / "uninterrupted")
    duration = time.monotonic() - started
    rng = random.Random(0)
    stopped = 0
    for number in range(stops):
        kind, to_group = kinds[number % len(kinds)], number % 2 == 1
        # Every fourth signal comes in the first quarter second, in which modules are imported.
        after = rng.uniform(0, duration if number % 4 else 0.25)
        output = tmp_path / str(number // CHAIN)
        ended = command(output).stop(
            kind, after=after, to_group=to_group, times=rng.choice([1, 1, 2, 5])
        )
        what = f"{kind.name} after {after:.3f} of {duration:.3f} s, group: {to_group}: {ended}"
        stopped += ended.exit_code != 0
        if kind == signal.SIGKILL:
            assert ended.exit_code in (0, -kind), what
        else:
            assert ended.exit_code in (0, 75), what
            assert not re.search(r"Traceback|Exception|Error|resource_tracker", ended.stderr), what
        if ended.exit_code == 75:
            assert ended.stderr.splitlines()[-1].startswith(f"{kind.name}: stopped"), what
        if number % CHAIN == CHAIN - 1:
            assert finish(output) == expected, what
            assert [path.name for path in tmp_path.glob(f"{output.name}.*")] == []
    # The others came after the end, or found the command up to date.
    assert stopped > stops // 3
