"""The files of prepare's unfinished work are damaged; the same command completes the work or says
what to remove.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from components.base.errors import WorkError
from components.sources import folder
from pipeline.prepare import deduplication, merge_plan, quarantine
from pipeline.prepare.stage import prepare
from tests.conftest import tiny_prepare_config
from tests.pipeline.prepare.test_stage import png, published_files, tree

IN_PROCESS = ("--runner=FnApiRunner",)


def flipped(data: bytes) -> bytes:
    """The data with a bit flipped in the middle; other data if there is none."""
    if not data:
        return b"x"
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "flipped": flipped,
    "zeros": lambda data: data[: len(data) // 2] + bytes(len(data) - len(data) // 2),
    "truncated": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "null": lambda data: b"null\n",
    "twice": lambda data: data + data,
    "removed": lambda data: None,
}


class InterruptedWorkError(Exception):
    """The stage ends after it has written all shards."""


def interrupt(*_: object) -> None:
    raise InterruptedWorkError


@pytest.fixture(scope="module")
def small_tasks() -> Iterator[None]:
    """Small slices, merges and ranges of hashes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder, "FILES_PER_SLICE", 15)
        patch.setattr(merge_plan, "MAX_MERGED", 3)
        patch.setattr(deduplication, "_KEYS_PER_RANGE", 50)
        yield


@pytest.fixture(scope="module")
def work(tmp_path_factory, small_tasks) -> tuple[Path, Callable[[Path], None], dict[str, bytes]]:
    """The draft of an interrupted run, a function that runs the command, and what it publishes."""
    directory = tmp_path_factory.mktemp("work")
    root = tree(directory / "pets")
    (root / "train/cat/wide.png").write_bytes(png((5, 6), 1))
    config = tiny_prepare_config(dataset=str(root), shard_bytes=700, duplicates="drop")

    def run(output: Path) -> None:
        prepare(config, output=output, beam_args=IN_PROCESS)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(InterruptedWorkError):
        patch.setattr(quarantine, "write", interrupt)
        run(directory / "interrupted")
    run(directory / "expected")
    draft = directory / "interrupted.draft"
    return draft, run, published_files(directory / "expected")


def attempt(run: Callable[[Path], None], output: Path) -> str | None:
    """Runs the command; returns the message of its error, if it has one."""
    try:
        run(output)
    except WorkError as error:
        return str(error)
    return None


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_work_with_a_damaged_file_is_completed_or_named(damage, work):
    draft, run, expected = work
    (work_dir,) = draft.glob("work-*")
    names = [path.relative_to(work_dir) for path in sorted(work_dir.rglob("*")) if path.is_file()]
    # One file of each kind.
    kinds = {re.sub(r"\d+", "0", name.as_posix()): name for name in names}
    assert len(kinds) >= 20
    output = draft.with_name("examples")
    before = set(draft.parent.iterdir())
    named = set()
    for kind, name in kinds.items():
        copy = shutil.copytree(draft, draft.with_name("examples.draft"))
        path = copy / work_dir.name / name
        content = DAMAGES[damage](path.read_bytes())
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        error = attempt(run, output)
        if error is None:
            assert published_files(output) == expected, name
            shutil.rmtree(output)
        else:
            assert f"remove the directory {copy}, and run the same command again" in error
            assert "\n" not in error
            named.add(kind)
            shutil.rmtree(copy)
        assert set(draft.parent.iterdir()) == before
    # Only what was merged from runs that are no longer there.
    assert named == {"0-0-merged"}
