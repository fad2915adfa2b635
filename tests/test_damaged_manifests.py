"""Every stage that reads an artifact refuses a damaged or hostile manifest in one line."""

import json
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from components.base.errors import UserError
from pipeline.embed.stage import embed
from pipeline.evaluate.config import EvaluateConfig
from pipeline.evaluate.stage import evaluate
from pipeline.prepare.stage import prepare
from tests.conftest import tiny_prepare_config, tiny_train_config
from tests.manifests import edit_manifest
from trainer import stage

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def originals(examples_dir, model_dir, tmp_path_factory) -> Path:
    """A copy of a run, whose manifests the tests damage, and of its manifests."""
    run = tmp_path_factory.mktemp("damaged")
    for name, directory in (("examples", examples_dir), ("model", model_dir)):
        shutil.copytree(directory, run / name)
        shutil.copy(directory / "manifest.json", run / f"{name}.json")
    return run


@pytest.fixture
def run(originals) -> Iterator[Path]:
    """A run with intact manifests; nothing else in it may have changed after the test."""
    before = sorted(originals.rglob("*"))
    yield originals
    assert sorted(originals.rglob("*")) == before
    for name in ("examples", "model"):
        path = originals / name / "manifest.json"
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        shutil.copy(originals / f"{name}.json", path)


def train(run: Path) -> None:
    config = tiny_train_config(epochs=1)
    stage.run("mlp", config, examples=run / "examples", output=run / "new", overwrite=True)


def evaluate_run(run: Path) -> None:
    evaluate(
        EvaluateConfig(draws=1),
        examples=run / "examples",
        model=run / "model",
        output=run / "new",
        overwrite=True,
    )


def embed_run(run: Path) -> None:
    embed(model=run / "model", pattern=f"{run}/examples", output=run / "new", overwrite=True)


def prepare_again(run: Path) -> None:
    config = tiny_prepare_config(synthetic_seed=7)
    prepare(config, output=run / "examples", overwrite=True)


def prepare_auto(run: Path) -> None:
    prepare(tiny_prepare_config(dataset="auto"), output=run / "examples")


def train_again(run: Path) -> None:
    config = tiny_train_config(epochs=3)
    stage.run("mlp", config, examples=run / "examples", output=run / "model", overwrite=True)


READERS = {
    "examples": [train, evaluate_run, embed_run, prepare_again, prepare_auto],
    "model": [evaluate_run, embed_run, train_again],
}


def check_refused(run: Path, name: str, readers: list[Callable[[Path], None]]) -> None:
    """Checks that each reader refuses an artifact in one line that names its directory."""
    for reader in readers:
        with pytest.raises(UserError) as caught:
            reader(run)
        message = str(caught.value)
        assert "\n" not in message, reader
        assert len(message) < 1500, reader
        assert str(run / name) in message, (reader, message)
        # Some damage is seen only when the work has begun.
        shutil.rmtree(run / "new.draft", ignore_errors=True)


def flip(text: bytes, *, seed: str) -> bytes:
    """The text with one bit flipped, but not in the duration, which nothing depends on."""
    rng = random.Random(seed)
    duration = re.search(rb'"wall_seconds": [0-9.]+', text)
    while duration.start() <= (position := rng.randrange(len(text))) < duration.end():
        pass
    flipped = bytearray(text)
    flipped[position] ^= 1 << rng.randrange(8)
    return bytes(flipped)


TEXTS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda text: b"",
    "one byte": lambda text: b"{",
    "half": lambda text: text[: len(text) // 2],
    "without its end": lambda text: text[:-3],
    "zeros": lambda text: bytes(len(text)),
    "zeros at the end": lambda text: text[:-512] + bytes(512),
    "twice": lambda text: text + text,
    "UTF-16": lambda text: text.decode().encode("utf-16-le")[:-1],
    "not UTF-8": lambda text: text.replace(b"prepare", b"\xff\xfe").replace(b"train", b"\xff\xfe"),
    "nested": lambda text: b'{"stage": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "huge number": lambda text: b'{"stage": ' + b"9" * 10_000 + b"}",
    "without its stage": lambda text: text.replace(b'"stage"', b'"page"'),
    "a changed setting": lambda text: text.replace(b'"duplicates"', b'"duplicated"').replace(
        b'"epochs"', b'"epoch"'
    ),
    "another digest": lambda text: re.sub(rb'"digest": "..', b'"digest": "zz', text),
    **{f"flip {n}": lambda text, n=n: flip(text, seed=f"{n}") for n in range(12)},  # type: ignore[misc]
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("damage", TEXTS.values(), ids=TEXTS)
def test_a_damaged_text_is_refused(run, name, damage):
    path = run / name / "manifest.json"
    text = path.read_bytes()
    damaged = damage(text)
    assert damaged != text
    path.write_bytes(damaged)
    check_refused(run, name, READERS[name])


def make_huge(path: Path) -> None:
    with path.open("w") as file:
        file.truncate(1 << 40)


OTHER_FILES: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a directory": os.mkdir,
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to the kernel": lambda path: path.symlink_to("/proc/kmsg"),
    "a link to itself": lambda path: path.symlink_to("manifest.json"),
    "a huge file": make_huge,
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("make", OTHER_FILES.values(), ids=OTHER_FILES)
def test_what_is_no_text_is_refused(run, name, make):
    path = run / name / "manifest.json"
    path.unlink()
    make(path)
    for reader in READERS[name]:
        with pytest.raises((UserError, OSError)) as caught:
            reader(run)
        assert "\n" not in str(caught.value)
        assert str(run / name) in str(caught.value)


def put(*keys: str | int, value: Any) -> Edit:
    """An edit that sets the value at a place."""

    def edit(manifest: dict[str, Any]) -> None:
        target: Any = manifest
        for key in keys[:-1]:
            target = target[key]
        target[keys[-1]] = value

    return edit


def remove(*keys: str) -> Edit:
    """An edit that removes a key."""

    def edit(manifest: dict[str, Any]) -> None:
        target: Any = manifest
        for key in keys[:-1]:
            target = target[key]
        del target[keys[-1]]

    return edit


RECORD = {"bytes": 3, "sha256": "0" * 64}
DEEP = json.loads('{"a":' * 100 + "1" + "}" * 100)
# Changes that are wrong in the manifest of any stage; the digest is that of the changed content.
VALUES: dict[str, Edit] = {
    **{f"no {key}": remove(key) for key in ("stage", "config", "inputs", "outputs", "counts")},
    **{f"{key} is a list": put(key, value=[]) for key in ("config", "inputs", "outputs", "counts")},
    "a stage that is a number": put("stage", value=3),
    "an unknown stage": put("stage", value="\x1b[31m\nprepare"),
    "no stage in words": put("stage", value=None),
    "another version": put("format_version", value=99),
    "a version in words": put("format_version", value="1"),
    "a version that is true": put("format_version", value=True),
    "an unknown key": put("more", value=1),
    "notes that are text": put("notes", value="a note"),
    "notes that are numbers": put("notes", value=[1]),
    "an input without a fingerprint": put("inputs", value={"x": {"path": "x"}}),
    "an input that is text": put("inputs", value={"x": "x"}),
    "versions that are numbers": put("versions", value={"numpy": 2}),
    "a duration in words": put("wall_seconds", value="long"),
    "settings that are too deep": put("config", "more", value=DEEP),
    "an output that is text": put("outputs", "x", value="x"),
    "an output without a size": put("outputs", "x", value={"sha256": "0" * 64}),
    "an output of a negative size": put("outputs", "x", value=RECORD | {"bytes": -1}),
    "an output of a size in words": put("outputs", "x", value=RECORD | {"bytes": "3"}),
    "an output of a huge size": put("outputs", "x", value=RECORD | {"bytes": 2**70}),
    "an output with a short digest": put("outputs", "x", value=RECORD | {"sha256": "00"}),
    "an output with an unknown key": put("outputs", "x", value=RECORD | {"mode": 7}),
    **{
        f"an output named {name!r}": put("outputs", name, value=RECORD)
        for name in ("", ".", "..", "../x", "a/../../x", "/etc/passwd", "a//b", "..\\x", "a\0b")
    },
    "an output that is missing": put("outputs", "absent", value=RECORD),
}
# `--overwrite` replaces an artifact with a missing output, since it knows what is there.
REPLACED = {"an output that is missing"}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("change", VALUES)
def test_a_wrong_value_is_refused(run, name, change):
    edit_manifest(run / name, VALUES[change])
    replacing = (prepare_again, prepare_auto, train_again) if change in REPLACED else ()
    check_refused(run, name, [reader for reader in READERS[name] if reader not in replacing])


SHARD = ("counts", "shards", "test", 0)
# Changes to what only the readers of a prepared dataset use.
COUNTS: dict[str, Edit] = {
    "no dataset": remove("config", "dataset"),
    "a dataset that is a number": put("config", "dataset", value=3),
    **{
        f"no {key}": remove("counts", key)
        for key in ("shards", "image_shape", "class_names", "examples", "duplicates")
    },
    "an unknown count": put("counts", "more", value=1),
    "a flat shape": put("counts", "image_shape", value=[28, 28]),
    "a negative shape": put("counts", "image_shape", value=[28, -28, 1]),
    "a huge shape": put("counts", "image_shape", value=[2**40, 2**20, 3]),
    "names that are numbers": put("counts", "class_names", value=[1, 2]),
    "shards in a list": put("counts", "shards", value=[]),
    "a shard that is text": put("counts", "shards", "test", value=["x"]),
    "a shard without a file": put(*SHARD, value={"examples": 3}),
    "a shard outside": put(*SHARD, "file", value="/elsewhere/evil.tfrecord"),
    "a shard above": put(*SHARD, "file", value="../examples.json"),
    "a shard that is no output": put(*SHARD, "file", value="manifest.json"),
    "too many examples": put(*SHARD, "examples", value=2**50),
    "no examples": put(*SHARD, "examples", value=0),
    "half an example": put(*SHARD, "examples", value=99.5),
}


@pytest.mark.parametrize("edit", COUNTS.values(), ids=COUNTS)
def test_wrong_counts_of_a_prepared_dataset_are_refused(run, edit):
    edit_manifest(run / "examples", edit)
    check_refused(run, "examples", [evaluate_run, embed_run])


def test_a_number_of_examples_that_is_not_that_of_the_shard_is_refused(run):
    edit_manifest(run / "examples", put(*SHARD, "examples", value=99))
    check_refused(run, "examples", [evaluate_run])


@pytest.mark.parametrize(
    "edit",
    [
        remove("config", "preset"),
        put("config", "preset", value=[]),
        remove("outputs", "model.keras"),
        remove("outputs", "metrics.jsonl"),
        remove("counts", "kept"),
        put("counts", "steps", value="many"),
        put("counts", "kept", "train", value=[]),
    ],
)
def test_a_wrong_manifest_of_a_model_is_refused(run, edit):
    edit_manifest(run / "model", edit)
    check_refused(run, "model", [evaluate_run])
