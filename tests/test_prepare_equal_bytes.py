"""Prepare publishes the same bytes whatever the slices, the levels of merges and the runner are."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from components.sources import folder
from pipeline.prepare import merge_plan
from pipeline.prepare.stage import prepare
from tests import engines
from tests.conftest import tiny_prepare_config
from tests.pipeline.prepare.test_stage import png, published_files, tree

RUNNERS = {
    "in_memory": ["--direct_running_mode=in_memory"],
    # The project's own processes.
    "pool": [],
    # Beam's processes.
    "processes": ["--direct_running_mode=multi_processing", "--direct_num_workers=2"],
    "portable": ["--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=LOOPBACK"],
}
# The number of files in a slice of train, by the number of levels in which its runs become two.
FILES_PER_SLICE = {0: 2048, 2: 20, 3: 10}
QUICK = {(2, "in_memory"), (3, "in_memory"), (2, "pool"), (3, "pool")}
# What a log says at the end of a level.
MERGED = re.compile(r"^prepare: merged (\S+) of \1 sorted runs$", re.MULTILINE)


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


@pytest.fixture(scope="module")
def all_expected(root, tmp_path_factory) -> dict[str, list]:
    """The digests with the usual slices and no merges, by how duplicates are treated."""
    directory = tmp_path_factory.mktemp("expected")
    return {name: prepare_and_retry(root, directory / name, name, []) for name in ("keep", "drop")}


@pytest.fixture
def check(root, all_expected, tmp_path, monkeypatch, capsys) -> Callable[..., None]:
    """Returns a function that compares a run with those of `all_expected`."""

    def run(levels: int, duplicates: str, beam_args: list[str]) -> None:
        # Without merges, the slices are those of `all_expected`.
        monkeypatch.setattr(merge_plan, "MAX_MERGED", 2 if levels else 256)
        monkeypatch.setattr(folder, "FILES_PER_SLICE", FILES_PER_SLICE[levels])
        capsys.readouterr()
        found = prepare_and_retry(root, tmp_path / "examples", duplicates, beam_args)
        assert found == all_expected[duplicates]
        assert found[0] != found[1]
        first, retry = capsys.readouterr().err.split("prepare: reading")[1:]
        assert len(MERGED.findall(first)) == levels
        assert bool(MERGED.findall(retry)) == bool(levels)

    return run


@pytest.mark.parametrize("duplicates", ["keep", "drop"])
@pytest.mark.parametrize(
    ("levels", "runner"),
    [
        pytest.param(*each, marks=() if each in QUICK else pytest.mark.slow)
        for each in ((levels, runner) for runner in RUNNERS for levels in FILES_PER_SLICE)
    ],
)
def test_the_bytes_are_the_same(levels, runner, duplicates, check):
    check(levels, duplicates, RUNNERS[runner])


@pytest.fixture(scope="module")
def prism_args(tmp_path_factory) -> Iterator[list[str]]:
    """Options of Prism and a worker pool."""
    logs = tmp_path_factory.mktemp("logs")
    with (
        engines.prism(logs / "prism.log") as address,
        engines.external_worker_pool(logs / "pool.log") as pool,
    ):
        yield engines.beam_args(address, pool.address)


@pytest.mark.cluster
@pytest.mark.parametrize("duplicates", ["keep", "drop"])
@pytest.mark.parametrize("levels", FILES_PER_SLICE)
def test_the_bytes_are_the_same_on_prism(levels, duplicates, check, prism_args):
    check(levels, duplicates, prism_args)
