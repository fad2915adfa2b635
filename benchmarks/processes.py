"""Commands measured from outside: wall time and the memory of all their processes. Linux only."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parent.parent
_SAMPLING_SECONDS = 0.05


@dataclasses.dataclass
class MemoryPeaks:
    """The peak memory of a command's processes, in bytes.

    Attributes:
      largest: resident memory (RSS) of the largest process.
      total: memory of all processes together, where a shared page counts once (PSS); 0 if it was
        not sampled.
    """

    largest: int = 0
    total: int = 0


@dataclasses.dataclass(frozen=True)
class CommandRun:
    """One run of a command.

    Attributes:
      wall: seconds from start to end, including the interpreter's start and all imports.
      peaks: peak memory.
      report: the JSON object that the command printed as its last line.
    """

    wall: float
    peaks: MemoryPeaks
    report: dict[str, Any]


class CommandError(Exception):
    """A command failed; the message is the last line that it wrote to standard error."""


def run(command: Sequence[str], *, sample_memory: bool) -> CommandRun:
    """Runs a command in its own session and ends every process that it leaves behind.

    Sampling takes about 25 ms per GB of memory, every 50 ms, so a run measures either memory or
    speed.

    Raises:
      CommandError: the command exited with a non-zero code.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=output, stderr=errors, cwd=ROOT, start_new_session=True
        )
        sampling = (
            _sampled_memory(process.pid) if sample_memory else contextlib.nullcontext(MemoryPeaks())
        )
        try:
            with sampling as peaks:
                _, status, usage = os.wait4(process.pid, 0)
                wall = time.perf_counter() - start
                process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            _end_session(process)
        if process.returncode:
            message = _last_line(errors) or f"exit code {process.returncode}"
            raise CommandError(message)
        # The kernel's figure is exact, but leaves out workers that nobody waited for; sampling
        # sees these.
        largest = max(peaks.largest, usage.ru_maxrss * 1024)
        return CommandRun(wall, MemoryPeaks(largest, peaks.total), json.loads(_last_line(output)))


def python(module: str, *arguments: str) -> list[str]:
    """The command that calls `main(*arguments)` of one of this project's modules.

    `-m` would name the module `__main__` in worker processes and in pickles.
    """
    code = f"import sys; from {module} import main; main(*sys.argv[1:])"
    return [sys.executable, "-c", code, *arguments]


def _last_line(file: IO[bytes]) -> str:
    file.seek(0)
    lines = file.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


@contextlib.contextmanager
def _sampled_memory(session: int) -> Iterator[MemoryPeaks]:
    """While the body runs, records the peak memory of a session's processes."""
    peaks = MemoryPeaks()
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(_SAMPLING_SECONDS):
            pids = _session_pids(session)
            largest = max((_memory(pid, "status", "VmHWM:") for pid in pids), default=0)
            total = sum(_memory(pid, "smaps_rollup", "Pss:") for pid in pids)
            peaks.largest, peaks.total = max(peaks.largest, largest), max(peaks.total, total)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        ended.set()
        thread.join()


def _session_pids(session: int) -> list[str]:
    """The process ids of a session's running processes."""
    pids = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        # The process's name, in parentheses, may contain anything. After it: state, parent,
        # group, session.
        fields = _read_proc(f"/proc/{pid}/stat").rpartition(")")[2].split()
        if fields and fields[3] == str(session) and fields[0] != "Z":
            pids.append(pid)
    return pids


def _memory(pid: str, file: str, field: str) -> int:
    """A field of one of a process's files in /proc, in bytes; 0 if the process has ended."""
    lines = _read_proc(f"/proc/{pid}/{file}").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), 0)


def _read_proc(path: str) -> str:
    """A file of /proc; empty if the process has ended."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _end_session(process: subprocess.Popen[bytes]) -> None:
    """Kills the remaining processes of a command and waits, so that its files can be removed."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    while _session_pids(process.pid):
        time.sleep(0.01)
