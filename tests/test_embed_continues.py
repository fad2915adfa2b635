"""`embed` of a folder is interrupted while it converts the images; the same command continues."""

import signal
import subprocess
from collections.abc import Callable

import pytest

from components.base.errors import Stopped
from pipeline.embed.stage import embed
from tests.conftest import ROOT, module_command
from tests.pipeline.prepare.test_stage import published_files, tree
from tests.test_kills import has_ended
from tests.test_prepare_continues import reports

MAX_MERGED = 3
SHARD_BYTES = 8000  # ten images


@pytest.fixture
def start(tmp_path, model_dir) -> Callable[[], subprocess.Popen]:
    """Returns a function that starts the command."""
    images = tree(tmp_path / "pets")
    arguments = ("--model", model_dir, "--input", images, "--shard_bytes", SHARD_BYTES)
    command = ("embed", *arguments, "--output", tmp_path / "embeddings")
    return lambda: subprocess.Popen(
        module_command("tests.small_prepare", MAX_MERGED, *command),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def stop_when(process: subprocess.Popen, moment: Callable[[], bool], kind: int) -> str:
    """Sends a signal at a moment; returns what the command printed."""
    while not (has_ended(process) or moment()):
        pass
    assert process.returncode is None, process.communicate()
    process.send_signal(kind)
    errors = process.communicate()[1]
    assert "Traceback" not in errors
    return errors


@pytest.mark.slow
def test_embed_continues_after_it_is_stopped_in_the_conversion_and_after_it(
    start, model_dir, tmp_path
):
    draft = tmp_path / "embeddings.draft"

    def done(phase: str) -> dict[str, tuple[int, int]]:
        return reports(draft / "converted", phase)

    process = start()
    stop_when(process, lambda: len(done("read")) >= 2, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    read = done("read")
    process = start()
    errors = stop_when(process, lambda: len(done("written")) >= 2, signal.SIGTERM)
    assert process.returncode == Stopped.exit_code
    assert "prepare: continuing the work of an earlier run" in errors
    # What was done is not done again.
    assert read.items() <= done("read").items()
    names = [name.removesuffix(".json") for name in done("written")]
    assert len(names) >= 2
    written = {name: (draft / "converted.draft" / name).stat().st_ino for name in names}
    process = start()
    errors = stop_when(process, lambda: any(draft.glob("*.done.json")), signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert "prepare: continuing the work of an earlier run" in errors
    assert written == {name: (draft / "converted" / name).stat().st_ino for name in names}
    process = start()
    errors = process.communicate()[1]
    assert process.returncode == 0, errors
    assert f"prepare: up to date ({draft}/converted)" in errors
    assert sorted(path.name for path in tmp_path.iterdir()) == ["embeddings", "pets"]
    # The same bytes as without interruptions, merges, and small slices.
    embed(
        model=model_dir,
        pattern=str(tmp_path / "pets"),
        source_options={"shard_bytes": SHARD_BYTES},
        output=tmp_path / "expected",
    )
    assert published_files(tmp_path / "embeddings") == published_files(tmp_path / "expected")
