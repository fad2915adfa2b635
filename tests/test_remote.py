"""Prepare from and to a remote place, through TensorFlow's file system, as epath reaches gs://.

The bucket is a folder of this disk: so real bytes go the whole way, but nothing is told of how an
object store renames or lists.
"""

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from etils import epath
from etils.epath import backend
from PIL import Image

from components.base import files
from components.base.errors import ConfigError, WorkError
from components.data.examples import ExampleBatch, hash_ids
from components.ingest import sorted_runs
from components.ingest.sorted_runs import HASHES
from pipeline.prepare.stage import prepare
from tests.conftest import tiny_prepare_config

URL = "s3://bucket"
SHAPE = (12, 10, 3)


class Bucket:
    """epath's TensorFlow backend, for which `URL` is a folder."""

    def __init__(self, root: Path):
        self.root = root
        self.calls: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            self.calls.add(name)
            made = getattr(backend._TfBackend(), name)(*map(self._inside, arguments), **options)
            if name == "glob":
                return [self._outside(path) for path in made]
            if name == "walk":
                return ((self._outside(top), *names) for top, *names in made)
            return made

        return call

    def _inside(self, argument: Any) -> Any:
        return argument.replace(URL, str(self.root), 1) if isinstance(argument, str) else argument

    def _outside(self, path: str) -> str:
        return path.replace(str(self.root), URL, 1)


@pytest.fixture
def bucket(tmp_path, monkeypatch) -> Bucket:
    """Whatever takes its URL for a local path finds nothing, or leaves something here."""
    there = Bucket(tmp_path / "bucket")
    there.root.mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(backend, "tf_backend", there)
    return there


def write_images(root: Path, *, seed: int = 0) -> None:
    """Some hundred images of two splits and three classes; twins, another shape, no image."""
    rng = np.random.default_rng(seed)
    for number in range(200):
        folder = root / ("test" if number % 5 == 0 else "train") / "abc"[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, SHAPE, np.uint8)).save(buffer, "PNG")
        (folder / f"{number}.png").write_bytes(buffer.getvalue())
    folder = root / "train/a"
    (folder / "twin.png").write_bytes((root / "train/b/1.png").read_bytes())
    (folder / "broken.png").write_bytes(b"no image")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / "small.png")
    for path in root.rglob("*.png"):
        # TensorFlow tells no parts of a second, and this time is part of what the source is.
        os.utime(path, (0, 1_500_000_000))


def config_of(dataset: object):
    return tiny_prepare_config(
        dataset=str(dataset), shard_bytes=30 * int(np.prod(SHAPE)), duplicates="drop"
    )


def contents(root: Path) -> dict[str, bytes]:
    """Every file but the manifest, which tells times and paths."""
    found = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
    del found["manifest.json"]
    return {name: path.read_bytes() for name, path in found.items()}


def test_a_remote_prepare_publishes_what_a_local_one_does(bucket, tmp_path, capsys):
    write_images(bucket.root / "images")
    local = prepare(config_of(bucket.root / "images"), output=tmp_path / "local")
    remote = prepare(config_of(f"{URL}/images"), output=f"{URL}/out/examples")
    assert {"open", "rename", "replace", "remove", "rmtree", "walk"} <= bucket.calls
    assert list(Path.cwd().iterdir()) == []
    assert [path.name for path in (bucket.root / "out").iterdir()] == ["examples"]
    there = contents(bucket.root / "out/examples")
    assert there == contents(tmp_path / "local")
    assert len([name for name in there if ".tfrecord-" in name]) > 5
    ours, theirs = local.artifact.manifest, remote.artifact.manifest
    for key in ("stage", "config", "outputs", "counts"):
        assert theirs[key] == ours[key]
    assert theirs["counts"]["quarantined"] == 3
    for split in local.splits:
        np.testing.assert_array_equal(local.read(split).images, remote.read(split).images)
    capsys.readouterr()
    prepare(config_of(f"{URL}/images"), output=f"{URL}/out/examples")
    assert "up to date" in capsys.readouterr().err


def test_a_remote_artifact_is_replaced_and_its_damage_seen(bucket, tmp_path):
    write_images(bucket.root / "one")
    write_images(bucket.root / "other", seed=1)
    out = f"{URL}/examples"
    prepare(config_of(f"{URL}/one"), output=out)
    with pytest.raises(ConfigError, match="holds other work"):
        prepare(config_of(f"{URL}/other"), output=out)
    prepare(config_of(f"{URL}/other"), output=out, overwrite=True)
    prepare(config_of(bucket.root / "other"), output=tmp_path / "local")
    assert contents(bucket.root / "examples") == contents(tmp_path / "local")
    assert {path.name for path in bucket.root.iterdir()} == {"one", "other", "examples"}
    shard = next((bucket.root / "examples").glob("*train.tfrecord-00000*"))
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(WorkError, match=f"{URL}/examples/{shard.name}"):
        prepare(config_of(f"{URL}/other"), output=out)


def test_a_draft_that_was_left_is_taken_away(bucket, tmp_path):
    write_images(bucket.root / "images")
    draft = bucket.root / "examples.draft"
    (draft / "work/read").mkdir(parents=True)
    plan = {"stage": "prepare", "config": "another"}
    (draft / "plan.json").write_text(json.dumps(plan))
    (draft / "work/read/000000.json").write_text("{}")
    prepare(config_of(f"{URL}/images"), output=f"{URL}/examples")
    prepare(config_of(bucket.root / "images"), output=tmp_path / "local")
    assert contents(bucket.root / "examples") == contents(tmp_path / "local")
    assert not draft.exists()


def test_a_remote_file_has_the_digest_of_its_bytes(bucket):
    data = np.random.default_rng(0).bytes((3 << 20) + 1)
    (bucket.root / "file").write_bytes(data)
    path = epath.Path(f"{URL}/file")
    assert files.sha256(path) == files.sha256(bucket.root / "file")
    assert files.sha256(path, sync=True) == files.sha256(bucket.root / "file")


class Counted:
    """A file that counts the bytes that are read of it."""

    def __init__(self, file: Any):
        self._file = file
        self.num_bytes = 0

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.num_bytes += len(data)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_of_a_remote_run_no_more_is_read_than_what_is_asked_for(bucket, monkeypatch):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4000, 16, 16, 3), np.uint8)
    block = ExampleBatch([f"{n}" for n in range(4000)], images, np.zeros(4000, np.int64))
    path = epath.Path(f"{URL}/run")
    sorted_runs.write(path, block, hash_ids(block.ids))
    opened: list[Counted] = []
    adapt = sorted_runs._Adapter

    def counted(file: Any) -> Any:
        opened.append(Counted(file))
        return adapt(opened[-1])

    monkeypatch.setattr(sorted_runs, "_Adapter", counted)
    here = bucket.root / "run"
    np.testing.assert_array_equal(sorted_runs.hash_column(path), sorted_runs.hash_column(here))
    np.testing.assert_array_equal(sorted_runs.digest_column(path), sorted_runs.digest_column(here))
    assert sorted_runs.id_and_label_columns(path)[0] == sorted_runs.id_and_label_columns(here)[0]
    with sorted_runs.opened(path) as run:
        rows = run.read((16, 16, 3), HASHES // 2, HASHES // 2 + HASHES // 64)
    assert 30 < len(rows.block) < 100
    expected = sorted_runs.read(here, (16, 16, 3), HASHES // 2, HASHES // 2 + HASHES // 64)
    np.testing.assert_array_equal(rows.block.images, expected.block.images)
    assert (rows.first, rows.block.ids) == (expected.first, expected.block.ids)
    # The images are 3 MB; eight parts, and what Arrow tells of them, are the rest.
    hashes, digests, ids, part = (file.num_bytes for file in opened)
    assert hashes < 32_000 + 20_000
    assert digests < 64_000 + 20_000
    assert ids < 64_000 + 20_000
    assert part < images.nbytes / 8 + 60_000
