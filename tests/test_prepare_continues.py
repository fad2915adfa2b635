"""Prepare is interrupted in each of its phases, and the same command completes the work."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from components.base.errors import ConfigError, Stopped
from tests.conftest import ROOT
from tests.pipeline.prepare.test_stage import png, prepare_tree, published_files, tree

MAX_MERGED = 3
SHARD_BYTES = 300  # ten images

Reports = dict[str, tuple[int, int]]


def start(root: Path, output: Path) -> subprocess.Popen:
    arguments = ("prepare", "--dataset", root, "--output", output, "--shard_bytes", SHARD_BYTES)
    return subprocess.Popen(
        [sys.executable, "-m", "tests.small_prepare", *map(str, (MAX_MERGED, *arguments))],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def reports(output: Path, folder: str) -> Reports:
    """The files of the reports in a folder of the work directory, with what a rewrite changes."""
    found = {}
    for path in output.with_name(f"{output.name}.draft").glob(f"work-*/{folder}/**/*.json"):
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            found[path.name] = (status.st_ino, status.st_mtime_ns)
    return found


def files_below(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def workers_of(pid: int) -> Iterator[int]:
    """The worker processes of a command: the children of the process that forks them."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            grandparent = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[1]
            if int(grandparent) == pid:
                yield int(path.parent.name)


def stop_in(phase: str, root: Path, output: Path, stop: Callable[[subprocess.Popen], None]):
    """Starts prepare, and stops it when two more tasks of a phase are done.

    Returns:
      The exit code, the text on stderr, and the reports that were left.
    """
    before = len(reports(output, phase))
    process = start(root, output)
    while len(reports(output, phase)) < before + 2:
        # Waits for a millisecond, so that this loop does not take the processor of the workers.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.001)
            raise AssertionError(process.communicate())
    stop(process)
    _, text = process.communicate(timeout=120)
    assert not output.exists()
    return process.returncode, text, {name: reports(output, name) for name in PHASES}


PHASES = ("read", "merged", "ids", "pixels", "written")


def test_prepare_continues_after_it_is_killed_in_each_phase(tmp_path):
    root, output = tree(tmp_path / "pets"), tmp_path / "examples"

    def kill_worker(process: subprocess.Popen) -> None:
        os.kill(next(workers_of(process.pid)), signal.SIGKILL)

    code, text, first = stop_in("read", root, output, kill_worker)
    assert (code, text.count("Traceback")) == (1, 0)
    assert "a worker process was killed" in text.splitlines()[-1]
    code, text, second = stop_in("merged", root, output, subprocess.Popen.terminate)
    assert (code, text.count("Traceback")) == (Stopped.exit_code, 0)
    assert "prepare: continuing the work of an earlier run" in text
    code, _, third = stop_in("pixels", root, output, subprocess.Popen.kill)
    assert code == -signal.SIGKILL
    code, _, fourth = stop_in("written", root, output, subprocess.Popen.kill)
    assert code == -signal.SIGKILL
    # What was done is not done again.
    for earlier, later in ((first, second), (second, third), (third, fourth)):
        for phase in PHASES:
            assert earlier[phase].items() <= later[phase].items()
    assert [len(fourth[phase]) > 1 for phase in PHASES] == [True] * len(PHASES)
    process = start(root, output)
    _, text = process.communicate(timeout=120)
    assert process.returncode == 0, text
    assert "prepare: read 114 inputs, kept 111" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["examples", "pets"]
    # The same bytes as without interruptions, merges, and small slices.
    prepare_tree(root, tmp_path / "expected", shard_bytes=SHARD_BYTES)
    assert published_files(output) == published_files(tmp_path / "expected")


@pytest.mark.slow
def test_work_whose_removal_was_interrupted_is_done_again(tmp_path):
    root, output = tree(tmp_path / "pets"), tmp_path / "examples"
    stop_in("written", root, output, subprocess.Popen.kill)
    (work_dir,) = output.with_name("examples.draft").glob("work-*")
    shutil.rmtree(work_dir / "read")
    process = start(root, output)
    assert process.communicate()[1].count("Traceback") == process.returncode == 0
    prepare_tree(root, tmp_path / "expected", shard_bytes=SHARD_BYTES)
    assert published_files(output) == published_files(tmp_path / "expected")


def test_work_on_another_source_is_neither_used_nor_lost(tmp_path, capsys):
    root, output = tree(tmp_path / "pets"), tmp_path / "examples"
    stop_in("written", root, output, subprocess.Popen.kill)
    (root / "train/cat/new.png").write_bytes(png((6, 5), 3))
    before = files_below(output.with_name("examples.draft"))
    with pytest.raises(ConfigError, match="holds a different, unfinished artifact: input source"):
        prepare_tree(root, output, shard_bytes=SHARD_BYTES)
    assert files_below(output.with_name("examples.draft")) == before
    prepare_tree(root, output, shard_bytes=SHARD_BYTES, overwrite=True)
    assert "continuing the work" not in capsys.readouterr().err
    prepare_tree(root, tmp_path / "expected", shard_bytes=SHARD_BYTES)
    assert published_files(output) == published_files(tmp_path / "expected")
