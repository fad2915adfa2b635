"""Commands measured from outside: wall time, and the memory of all their processes. Linux only."""

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
_SAMPLED_SECONDS = 0.05


@dataclasses.dataclass
class Peaks:
    """The most memory that a command's processes held, in bytes.

    Attributes:
      largest: of the largest one (RSS).
      total: of all together, a page that several share counted once (PSS); 0: was not sampled.
    """

    largest: int = 0
    total: int = 0


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of a command.

    Attributes:
      wall: seconds from its start to its end, with the interpreter's own and all imports.
      peaks: of its memory.
      report: what it printed as its last line, JSON.
    """

    wall: float
    peaks: Peaks
    report: dict[str, Any]


class RunError(Exception):
    """A command failed; its text is the last line that it wrote to standard error."""


def run(command: Sequence[str], *, sample_memory: bool) -> Run:
    """Runs a command in a session of its own, of which nothing is left afterwards.

    Sampling costs time (some 25 ms for each GB that is held, every 50 ms), so that a run tells
    either memory or speed.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=output, stderr=errors, cwd=ROOT, start_new_session=True
        )
        sampling = _sampled(process.pid) if sample_memory else contextlib.nullcontext(Peaks())
        try:
            with sampling as peaks:
                _, status, usage = os.wait4(process.pid, 0)
                wall = time.perf_counter() - start
                process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            _end(process)
        if process.returncode:
            last = _last_line(errors) or f"exit code {process.returncode}"
            raise RunError(last)
        # The kernel's own figure misses no moment, but the workers that nobody waited for.
        largest = max(peaks.largest, usage.ru_maxrss * 1024)
        return Run(wall, Peaks(largest, peaks.total), json.loads(_last_line(output)))


def _last_line(file: IO[bytes]) -> str:
    file.seek(0)
    lines = file.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


@contextlib.contextmanager
def _sampled(session: int) -> Iterator[Peaks]:
    """While the body runs, notes the memory that a session's processes hold."""
    peaks = Peaks()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_SAMPLED_SECONDS):
            processes = _processes(session)
            largest = max((_bytes(each, "status", "VmHWM:") for each in processes), default=0)
            total = sum(_bytes(each, "smaps_rollup", "Pss:") for each in processes)
            peaks.largest, peaks.total = max(peaks.largest, largest), max(peaks.total, total)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        ended.set()
        thread.join()


def _processes(session: int) -> list[str]:
    """The session's processes that still run."""
    found = []
    for number in filter(str.isdigit, os.listdir("/proc")):
        # The name, in brackets, may hold anything; then follow state, parent, group, session.
        fields = _read(f"/proc/{number}/stat").rpartition(")")[2].split()
        if fields and fields[3] == str(session) and fields[0] != "Z":
            found.append(number)
    return found


def _bytes(process: str, file: str, name: str) -> int:
    """What a process's file in /proc says under `name`, 0 where the process has ended meanwhile."""
    lines = _read(f"/proc/{process}/{file}").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:  # The process has ended.
        return ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends all that is left of a command, so that its files can be removed."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    while _processes(process.pid):
        time.sleep(0.01)


def python(module: str, *arguments: str) -> list[str]:
    """A command that calls `main(*arguments)` of one of this project's modules.

    Not by `-m`, since worker processes and pickles would then name it `__main__`.
    """
    code = f"import sys; from {module} import main; main(*sys.argv[1:])"
    return [sys.executable, "-c", code, *arguments]
