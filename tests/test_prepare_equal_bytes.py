"""Prepare publishes the same bytes whatever the slices, the levels of merges and the runner are."""

import hashlib
import os
from pathlib import Path

import pytest

from components.sources import folder
from pipeline.prepare import execution, merge_plan
from pipeline.prepare.stage import prepare
from tests.conftest import tiny_prepare_config
from tests.pipeline.prepare.test_stage import png, published_files, tree

RUNNERS = {
    "in_memory": [],
    "processes": ["--direct_running_mode=multi_processing", "--direct_num_workers=2"],
    "portable": ["--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=LOOPBACK"],
}
# The number of files in a slice of train, by the number of levels in which its runs become two.
FILES_PER_SLICE = {0: 2048, 2: 20, 3: 10}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A folder of images of two shapes, with duplicates and unusable files."""
    pets = tree(tmp_path_factory.mktemp("folder") / "pets")
    for number in range(4):
        for name in (f"train/cat/wide{number}.png", f"test/dog/wide{number}.png"):
            (pets / name).write_bytes(png((5, 6), number))
            os.utime(pets / name, (0, 0))
    return pets


def digests(directory: Path) -> dict[str, str]:
    return {
        name: hashlib.sha256(content).hexdigest()
        for name, content in published_files(directory).items()
    }


def prepare_and_retry(root: Path, output: Path, duplicates: str, beam_args: list[str]) -> list:
    """Prepares a folder, then retries its quarantine; returns the digests after both."""
    config = tiny_prepare_config(dataset=str(root), shard_bytes=500, duplicates=duplicates)
    prepare(config, output=output, beam_args=beam_args)
    found = [digests(output)]
    fixed = {"train/cat/07.png": png((6, 5), 77), "train/dog/05.png": png((6, 5), 77)}
    broken = {name: (root / name).read_bytes() for name in fixed}
    for contents in (fixed, broken):
        for name, data in contents.items():
            (root / name).write_bytes(data)
            os.utime(root / name, (0, 0))
        if contents is fixed:
            prepare(config, output=output, beam_args=beam_args, retry_quarantined=True)
            found.append(digests(output))
    return found


def count_levels(monkeypatch) -> list[int]:
    """Returns a list that the highest level of each call of `merged` is appended to."""
    levels = []
    merged = execution.merged

    def counted(runs, work_dir, options):
        remaining = merged(runs, work_dir, options)
        levels.append(len(list((work_dir / "merged").iterdir())))
        return remaining

    monkeypatch.setattr(execution, "merged", counted)
    return levels


@pytest.fixture(scope="module", params=["keep", "drop"])
def expected(request, root, tmp_path_factory) -> tuple[str, list]:
    """How duplicates are treated, and the digests with the usual slices and no merges."""
    output = tmp_path_factory.mktemp("expected") / "examples"
    return request.param, prepare_and_retry(root, output, request.param, [])


@pytest.mark.parametrize(
    ("levels", "runner"),
    [
        (2, "in_memory"),
        (3, "in_memory"),
        pytest.param(3, "processes", marks=pytest.mark.slow),
        pytest.param(0, "portable", marks=pytest.mark.slow),
        pytest.param(3, "portable", marks=pytest.mark.slow),
    ],
)
def test_the_bytes_are_the_same(levels, runner, root, expected, tmp_path, monkeypatch):
    # Without merges, the slices are those of `expected`.
    monkeypatch.setattr(merge_plan, "MAX_MERGED", 2 if levels else 256)
    monkeypatch.setattr(folder, "FILES_PER_SLICE", FILES_PER_SLICE[levels])
    counted = count_levels(monkeypatch)
    duplicates, digests_expected = expected
    found = prepare_and_retry(root, tmp_path / "examples", duplicates, RUNNERS[runner])
    assert found == digests_expected
    assert found[0] != found[1]
    assert counted[0] == levels
