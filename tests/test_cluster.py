"""`prepare`, `embed` and `denoise` on an engine give the bytes of a run on this machine alone.

`make cluster` runs these tests on Prism; see `tests/engines.py` for other engines.
"""

import functools
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests import engines
from tests.conftest import ROOT, module_command
from tests.pipeline.prepare.test_stage import png, published_files
from tests.test_kills import has_ended

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

IMAGES = 12_000
SHARD_BYTES = 1 << 18
FEW_RUNS = 3  # the most that are merged at once
# What is done, the command that does it, and the first files that it leaves in its draft.
MOMENTS = {
    "reading": ("prepare", "work-*/read/*"),
    "merging": ("prepare_in_small_tasks", "work-*/merged/*/*"),
    "writing": ("prepare", "*.tfrecord-*"),
    "embedding": ("embed", "*.parquet"),
    "converting": ("embed_in_small_tasks", "converted.draft/work-*/read/*"),
}
# The line that says what was counted.
SUMMARY = re.compile(r"^prepare: read \S+ inputs?, kept .*$", re.MULTILINE)


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Iterator[Path]:
    """A directory that this process shares with the workers."""
    if engines.ARTIFACTS is None:
        yield tmp_path_factory.mktemp("shared")
        return
    directory = Path(engines.ARTIFACTS, f"cluster-test-{os.getpid()}")
    directory.mkdir()
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def engine(shared) -> Iterator[tuple[str, engines.ExternalWorkerPool | None]]:
    """The address of a job service, and its worker pool if that is on this machine."""
    if engines.JOB_ENDPOINT:
        yield engines.JOB_ENDPOINT, None
        return
    with (
        engines.prism(shared / "prism.log") as address,
        engines.external_worker_pool(shared / "pool.log") as pool,
    ):
        yield address, pool


@pytest.fixture(scope="module")
def beam_args(engine) -> list[str]:
    """Beam's options for the engine."""
    address, pool = engine
    return engines.beam_args(address, pool.address if pool else os.environ["ENVIRONMENT"])


@pytest.fixture(scope="module")
def commands(shared, model_dir, examples_dir) -> dict[str, list[object]]:
    """The commands by name, without their outputs and Beam's options.

    A name is followed by the arguments of a Python program: a module and its options.
    """
    shard_bytes = ("--shard_bytes", SHARD_BYTES)
    synthetic = ("--dataset", "synthetic_garments", "--synthetic_size", IMAGES, *shard_bytes)
    examples = shared / "examples"
    run(["pipeline", "prepare", *synthetic], examples)
    shutil.copytree(model_dir, shared / "model")
    shutil.copytree(examples_dir, shared / "few_examples")
    trained = ("--model", shared / "model")
    model = (*trained, "--columns", "id,mean,rate,distortion")
    small_tasks = ["tests.small_prepare", FEW_RUNS]
    images = shared / "images"
    many = shared / "many"
    for directory, number in ((images, 30), (many, 100)):
        for label in ("even", "odd"):
            (directory / label).mkdir(parents=True)
            for seed in range(number):
                (directory / label / f"{seed}.png").write_bytes(png((12, 10, 3), seed))
    (images / "odd" / "broken.png").write_bytes(png((12, 10, 3))[:40])
    (images / "odd" / "large.png").write_bytes(png((13, 10, 3)))
    return {
        "prepare": ["pipeline", "prepare", *synthetic],
        "prepare_folder": ["pipeline", "prepare", "--dataset", images, "--duplicates", "drop"],
        # So many slices that their runs are merged in levels.
        "prepare_in_small_tasks": [*small_tasks, "prepare", "--dataset", many],
        "embed": ["pipeline", "embed", *model, "--input", examples],
        "embed_source": ["pipeline", "embed", *model, "--input", images],
        "embed_in_small_tasks": [*small_tasks, "embed", *model, "--input", many],
        "denoise": ["pipeline", "denoise", *trained, "--input", shared / "few_examples"],
    }


@pytest.fixture(scope="module")
def local(commands, shared) -> Callable[[str], dict[str, bytes]]:
    """Returns a function from a command's name to the files that it publishes without an engine.

    Outputs are in folders of their own, equally far from the inputs: manifests have these ways.
    """
    return functools.cache(lambda name: run(commands[name], shared / "local" / name))


def start(words: list[object], output: Path, beam_args: Sequence[str]) -> subprocess.Popen:
    arguments = (*words, "--output", output, "--", *beam_args)
    return subprocess.Popen(
        module_command(*arguments),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(words: list[object], output: Path, beam_args: Sequence[str] = ()) -> dict[str, bytes]:
    """Runs a command to its end; returns the files that it publishes, and its summary."""
    return finish(start(words, output, beam_args), output)


def finish(process: subprocess.Popen, output: Path) -> dict[str, bytes]:
    """Waits for a command; returns the files that it publishes, and its summary."""
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    summary = "\n".join(SUMMARY.findall(errors))
    return {**published_files(output), "the summary": summary.encode()}


def interrupt(
    process: subprocess.Popen, output: Path, pattern: str, stop: Callable[[], None]
) -> list[str]:
    """Calls `stop` when a command has left a first file in its draft; returns its last lines."""
    draft = output.with_name(f"{output.name}.draft")
    while not (has_ended(process) or any(draft.glob(pattern))):
        pass
    assert process.returncode is None, process.communicate()
    stop()
    _, errors = process.communicate()
    assert "Traceback" not in errors
    return [line for line in errors.splitlines() if not re.match("(prepare|embed): |  ", line)]


@pytest.mark.parametrize("name", ["prepare", "prepare_folder", "embed", "embed_source", "denoise"])
def test_the_bytes_and_the_ledger_are_those_of_this_machine(
    name, commands, local, shared, beam_args
):
    assert run(commands[name], shared / "remote" / name, beam_args) == local(name)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_lost_worker_is_named_and_the_same_command_goes_on(
    moment, commands, local, shared, engine, beam_args
):
    engines.require_prism()
    name, pattern = MOMENTS[moment]
    output = shared / "killed" / moment
    process = start(commands[name], output, beam_args)

    def kill_workers() -> None:
        for worker in engine[1].workers():
            os.kill(worker, signal.SIGKILL)

    (line,) = interrupt(process, output, pattern, kill_workers)
    assert process.returncode == 1
    assert line.startswith("error: a worker was lost (worker[job-")
    assert not output.exists()
    assert run(commands[name], output, beam_args) == local(name)


@pytest.mark.parametrize(
    ("kind", "times", "moment"),
    [
        (signal.SIGINT, 1, "reading"),
        (signal.SIGTERM, 2, "writing"),
        (signal.SIGTERM, 1, "embedding"),
    ],
)
def test_a_signal_cancels_the_job_and_the_same_command_goes_on(
    kind, times, moment, commands, local, shared, engine, beam_args
):
    name, pattern = MOMENTS[moment]
    output = shared / "stopped" / moment
    process = start(commands[name], output, beam_args)

    def send_signals() -> None:
        for _ in range(times):
            process.send_signal(kind)

    (line,) = interrupt(process, output, pattern, send_signals)
    assert process.returncode == 75
    assert line.startswith(f"{kind.name}: stopped")
    assert engines.last_state(engine[0]) == "CANCELLED"
    assert run(commands[name], output, beam_args) == local(name)


def test_paths_are_relative_to_the_directory_of_the_command(commands, local, shared, beam_args):
    arguments = (*commands["prepare_folder"], "--output", "relative/folder", "--", *beam_args)
    process = subprocess.Popen(
        module_command(*arguments),
        cwd=shared,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert finish(process, shared / "relative" / "folder") == local("prepare_folder")


def test_two_commands_run_at_once(commands, local, shared, beam_args):
    outputs = {name: shared / "at_once" / name for name in ("prepare", "embed")}
    running = {name: start(commands[name], outputs[name], beam_args) for name in outputs}
    for name, process in running.items():
        assert finish(process, outputs[name]) == local(name)


def test_a_pool_may_be_started_again_between_two_commands(commands, local, shared, engine):
    engines.require_prism()
    port = 0
    for time in ("first", "second"):
        log = shared / f"{time}.log"
        with engines.external_worker_pool(log, port=port) as pool:
            beam_args = engines.beam_args(engine[0], pool.address)
            found = run(commands["prepare_folder"], shared / time / "folder", beam_args)
        assert found == local("prepare_folder")
        port = int(pool.address.rpartition(":")[2])


@pytest.mark.parametrize("name", ["prepare", "embed_source"])
def test_a_job_server_that_the_command_starts(name, commands, local, shared):
    prism = engines.require_prism()
    beam_args = ["--runner=PrismRunner", f"--prism_location={prism}"]
    assert run(commands[name], shared / "own_server" / name, beam_args) == local(name)


def test_a_signal_cancels_the_job_of_a_job_server_that_the_command_started(commands, local, shared):
    prism = engines.require_prism()
    beam_args = ["--runner=PrismRunner", f"--prism_location={prism}"]
    output = shared / "own_server_stopped" / "prepare"
    process = start(commands["prepare"], output, beam_args)
    pattern = MOMENTS["reading"][1]
    (line,) = interrupt(process, output, pattern, lambda: process.send_signal(signal.SIGINT))
    assert process.returncode == 75
    assert line.startswith("SIGINT: stopped")
    assert run(commands["prepare"], output, beam_args) == local("prepare")
