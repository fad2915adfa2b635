"""Prepare from and to a remote URL, through TensorFlow's file system, as epath reads gs://.

The bucket is a local folder. So all bytes pass through the remote code path, but how a real object
store lists files is not tested; see `test_object_store.py`.
"""

import contextlib
import io
import json
import os
from collections.abc import Iterator
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
from components.data.prepared_dataset import PreparedDataset
from components.ingest import run_file, sorted_runs
from components.ingest.sorted_runs import NUM_HASHES
from pipeline.embed.config import EmbedConfig
from pipeline.embed.stage import embed
from pipeline.prepare import sidecars
from pipeline.prepare.stage import prepare
from tests.components.ingest.runs import digests_of, read_run
from tests.conftest import tiny_prepare_config, tiny_train_config
from trainer import stage

URL = "s3://bucket"
SHAPE = (12, 10, 3)
# Other processes do not know the bucket.
IN_PROCESS = ("--runner=FnApiRunner",)


class Bucket:
    """epath's TensorFlow backend with `URL` mapped to a local folder.

    Attributes:
      root: the folder.
      calls: names of the backend's methods that were called.
    """

    def __init__(self, root: Path):
        self.root = root
        self.calls: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            self.calls.add(name)
            result = getattr(backend._TfBackend(), name)(*map(self._to_local, arguments), **options)
            if name == "glob":
                return [self._to_url(path) for path in result]
            if name == "walk":
                return ((self._to_url(top), *names) for top, *names in result)
            return result

        return call

    def _to_local(self, argument: Any) -> Any:
        return argument.replace(URL, str(self.root), 1) if isinstance(argument, str) else argument

    def _to_url(self, path: str) -> str:
        return path.replace(str(self.root), URL, 1)


@pytest.fixture
def bucket(tmp_path, monkeypatch) -> Bucket:
    """A bucket at `URL`.

    The working directory is empty: code that takes the URL for a local path finds nothing, or
    leaves a file there.
    """
    bucket = Bucket(tmp_path / "bucket")
    bucket.root.mkdir()
    (tmp_path / "working_directory").mkdir()
    monkeypatch.chdir(tmp_path / "working_directory")
    monkeypatch.setattr(backend, "tf_backend", bucket)
    return bucket


def write_images(root: Path, *, seed: int = 0) -> None:
    """Writes 200 images in two splits and three classes, a duplicate, and two unusable files."""
    rng = np.random.default_rng(seed)
    for number in range(200):
        folder = root / ("test" if number % 5 == 0 else "train") / "abc"[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, SHAPE, np.uint8)).save(buffer, "PNG")
        (folder / f"{number}.png").write_bytes(buffer.getvalue())
    folder = root / "train/a"
    (folder / "duplicate.png").write_bytes((root / "train/b/1.png").read_bytes())
    (folder / "broken.png").write_bytes(b"not an image")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / "small.png")
    for path in root.rglob("*.png"):
        # TensorFlow reports whole seconds, and the time is part of the source's fingerprint.
        os.utime(path, (0, 1_500_000_000))


def prepare_config(dataset: object):
    return tiny_prepare_config(
        dataset=str(dataset), shard_bytes=30 * int(np.prod(SHAPE)), duplicates="drop"
    )


def contents(root: Path) -> dict[str, bytes]:
    """The bytes of every file except the manifest, which holds times and paths."""
    paths = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
    del paths["manifest.json"]
    return {name: path.read_bytes() for name, path in paths.items()}


def test_remote_and_local_prepare_publish_the_same_files(bucket, tmp_path, capsys):
    write_images(bucket.root / "images")
    local = prepare(prepare_config(bucket.root / "images"), output=tmp_path / "local")
    remote = prepare(prepare_config(f"{URL}/images"), output=f"{URL}/out/examples")
    assert {"open", "stat", "listdir", "remove", "rmtree"} <= bucket.calls
    assert not {"rename", "replace", "copy"} & bucket.calls
    assert list(Path.cwd().iterdir()) == []
    assert [path.name for path in (bucket.root / "out").iterdir()] == ["examples"]
    published = contents(bucket.root / "out/examples")
    assert published == contents(tmp_path / "local")
    assert len([name for name in published if ".tfrecord-" in name]) > 5
    local_manifest, remote_manifest = local.artifact.manifest, remote.artifact.manifest
    for key in ("stage", "config", "outputs", "counts"):
        assert getattr(remote_manifest, key) == getattr(local_manifest, key)
    assert remote_manifest.counts["quarantined"] == 3
    for split in local.splits:
        np.testing.assert_array_equal(local.read(split).images, remote.read(split).images)
    capsys.readouterr()
    prepare(prepare_config(f"{URL}/images"), output=f"{URL}/out/examples")
    assert "up to date" in capsys.readouterr().err


def test_a_remote_artifact_is_replaced_and_damage_is_detected(bucket, tmp_path):
    write_images(bucket.root / "one")
    write_images(bucket.root / "other", seed=1)
    out = f"{URL}/examples"
    prepare(prepare_config(f"{URL}/one"), output=out)
    with pytest.raises(ConfigError, match="holds a different artifact"):
        prepare(prepare_config(f"{URL}/other"), output=out)
    prepare(prepare_config(f"{URL}/other"), output=out, overwrite=True)
    prepare(prepare_config(bucket.root / "other"), output=tmp_path / "local")
    assert contents(bucket.root / "examples") == contents(tmp_path / "local")
    assert {path.name for path in bucket.root.iterdir()} == {"one", "other", "examples"}
    shard = next((bucket.root / "examples").glob("*train.tfrecord-00000*"))
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(WorkError, match=f"{URL}/examples/{shard.name}"):
        prepare(prepare_config(f"{URL}/other"), output=out)


def test_the_remains_of_a_failed_remote_run_are_removed(bucket, tmp_path):
    write_images(bucket.root / "images")
    draft = bucket.root / "examples"
    (draft / "work/read").mkdir(parents=True)
    plan = {"stage": "prepare", "config": "another"}
    (draft / "plan.json").write_text(json.dumps(plan))
    (draft / "work/read/000000.json").write_text("{}")
    with pytest.raises(ConfigError, match="not a finished artifact"):
        PreparedDataset.open(f"{URL}/examples")
    prepare(prepare_config(f"{URL}/images"), output=f"{URL}/examples")
    prepare(prepare_config(bucket.root / "images"), output=tmp_path / "local")
    assert contents(bucket.root / "examples") == contents(tmp_path / "local")
    assert [path.name for path in draft.iterdir() if path.is_dir()] == ["quarantine"]


def test_a_remote_quarantine_is_retried(bucket, tmp_path, monkeypatch):
    write_images(bucket.root / "images")
    out = f"{URL}/examples"
    prepare(prepare_config(f"{URL}/images"), output=out)
    mended = Image.fromarray(np.full(SHAPE, 7, np.uint8))
    mended.save(bucket.root / "images/train/a/broken.png")
    os.utime(bucket.root / "images/train/a/broken.png", (0, 1_500_000_000))

    def fail(*_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(sidecars, "write_sidecars", fail)
        prepare(
            prepare_config(f"{URL}/images"),
            output=out,
            retry_quarantined=True,
            beam_args=IN_PROCESS,
        )
    assert PreparedDataset.open(out).counts.quarantined == 3
    prepare(
        prepare_config(f"{URL}/images"), output=out, retry_quarantined=True, beam_args=IN_PROCESS
    )
    prepare(prepare_config(bucket.root / "images"), output=tmp_path / "local")
    assert PreparedDataset.open(out).counts.quarantined == 2
    assert contents(bucket.root / "examples") == contents(tmp_path / "local")
    assert {path.name for path in bucket.root.iterdir()} == {"images", "examples"}


def test_a_remote_file_has_the_digest_of_its_bytes(bucket):
    data = np.random.default_rng(0).bytes((3 << 20) + 1)
    (bucket.root / "file").write_bytes(data)
    path = epath.Path(f"{URL}/file")
    assert files.sha256(path) == files.sha256(bucket.root / "file")
    assert files.sha256(path, sync=True) == files.sha256(bucket.root / "file")


class CountingFile:
    """A file that counts the bytes read from it."""

    def __init__(self, file: Any):
        self._file = file
        self.num_bytes = 0

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.num_bytes += len(data)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_only_the_requested_part_of_a_remote_sorted_run_is_read(bucket, monkeypatch):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4000, 16, 16, 3), np.uint8)
    examples = ExampleBatch([f"{n}" for n in range(4000)], images, np.zeros(4000, np.int64))
    path = epath.Path(f"{URL}/run")
    sorted_runs.write(path, examples, hash_ids(examples.ids))
    local = bucket.root / "run"
    np.testing.assert_array_equal(digests_of(path), digests_of(local))
    opened: list[CountingFile] = []
    open_regular = files.open_regular

    @contextlib.contextmanager
    def open_counted(path: epath.Path) -> Iterator[CountingFile]:
        with open_regular(path) as file:
            opened.append(CountingFile(file))
            yield opened[-1]

    monkeypatch.setattr(files, "open_regular", open_counted)
    ids, _ = sorted_runs.id_and_label_columns(path)
    with run_file.open_run(path) as run:
        rows = run.read((16, 16, 3), NUM_HASHES // 2, NUM_HASHES // 2 + NUM_HASHES // 64)
    assert 30 < len(rows.examples) < 100
    monkeypatch.undo()
    assert ids == sorted_runs.id_and_label_columns(local)[0]
    expected = read_run(local, (16, 16, 3), NUM_HASHES // 2, NUM_HASHES // 2 + NUM_HASHES // 64)
    np.testing.assert_array_equal(rows.examples.images, expected.examples.images)
    assert (rows.first, rows.examples.ids) == (expected.first, expected.examples.ids)
    # All images are 3 MB; the keys and the ids of an example are 40 bytes, in blocks of 1024.
    keys, part = (file.num_bytes for file in opened)
    assert keys < 4000 * 42 + 500
    assert part < len(rows.examples) * 768 + 2 * 1024 * 42 + 500


def test_a_model_is_trained_and_applied_remotely(bucket, capsys):
    write_images(bucket.root / "images")
    examples, model, output = f"{URL}/examples", f"{URL}/model", f"{URL}/embeddings"
    prepare(prepare_config(f"{URL}/images"), output=examples)
    stage.run("mlp", tiny_train_config(), examples=examples, output=model)
    stage.run("mlp", tiny_train_config(epochs=3), examples=examples, output=model, extend=True)
    assert "resuming from step" in capsys.readouterr().err
    config = EmbedConfig(columns="mean,rate", format="npy")
    (bucket.root / "examples/manifest.json").rename(bucket.root / "manifest.json")
    (bucket.root / "examples/plan.json").touch()
    for read in (
        lambda: embed(config, model=model, pattern=examples, output=output),
        lambda: prepare(prepare_config(examples), output=f"{URL}/again"),
    ):
        with pytest.raises(ConfigError, match=f"{examples} is not finished: it has plan.json"):
            read()
    (bucket.root / "examples/plan.json").unlink()
    (bucket.root / "manifest.json").rename(bucket.root / "examples/manifest.json")
    artifact = embed(config, model=model, pattern=examples, output=output, beam_args=IN_PROCESS)
    assert artifact.manifest.counts["rows"] == 200
    assert artifact.is_intact()
    assert not {"rename", "replace"} & bucket.calls
    folders = {"images", "examples", "model", "embeddings"}
    assert {path.name for path in bucket.root.iterdir()} == folders
    assert list(bucket.root.glob("model/tensorboard/*/events*"))
