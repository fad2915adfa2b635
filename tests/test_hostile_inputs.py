"""Thousands of mutated inputs: no traceback, no hang, bounded memory, a ledger that adds up."""

import gzip
import io
import json
import os
import random
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from PIL import Image

from components.data import tf_example, tfrecord
from components.data.prepared_dataset import PreparedDataset
from components.ingest.rejection import Reason
from pipeline.prepare.quarantine import QUARANTINE
from tests.conftest import ROOT
from tests.tfrecords import write_records

MEMORY_LIMIT = 1 << 30
FILES_PER_RUN = 600


def encoded_image(rng: random.Random) -> bytes:
    """An undamaged image, nine times in ten of the common shape."""
    pixels = np.frombuffer(rng.randbytes(8 * 6 * 3), np.uint8).reshape(8, 6, 3)
    image = Image.fromarray(pixels if rng.random() < 0.1 else pixels[..., 0])
    buffer = io.BytesIO()
    image.save(buffer, rng.choice(["PNG", "PNG", "JPEG", "WEBP", "BMP"]))
    return buffer.getvalue()


def truncate(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def flip_bits(rng: random.Random, data: bytes) -> bytes:
    flipped = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(flipped)


def change_magic(rng: random.Random, data: bytes) -> bytes:
    return rng.choice([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"BM", b"MZ"]) + data[8:]


def insert_zeros(rng: random.Random, data: bytes) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + bytes(rng.randint(1, 64)) + data[start:]


def png_declaring(width: int, height: int, stream: bytes) -> bytes:
    """A PNG with the given size in its header and correct checksums."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", stream) + chunk(b"IEND", b"")


def declare_huge(rng: random.Random, data: bytes) -> bytes:
    sizes = [2**31 - 1, 2**16, 50_000, 0]
    return png_declaring(rng.choice(sizes), rng.choice(sizes), zlib.compress(data))


def make_bomb(rng: random.Random, data: bytes) -> bytes:
    """A PNG that inflates to 9 MB and declares 6, 3,000 or 20,000 pixels per side."""
    side = rng.choice([6, 3000, 20_000])
    return png_declaring(side, side, zlib.compress(bytes(9_000_000)))


def replace_content(rng: random.Random, data: bytes) -> bytes:
    return rng.choice(
        [b"", b"\0" * 500, b"just text\n", rng.randbytes(300), b"PK\x03\x04zip", b"<html>"]
    )


MUTATIONS: list[Callable[[random.Random, bytes], bytes]] = [
    truncate,
    flip_bits,
    change_magic,
    insert_zeros,
    declare_huge,
    replace_content,
]


def file_name(rng: random.Random, number: int) -> bytes:
    """A name that some part of the pipeline might mishandle."""
    stem = rng.choice(
        [
            b"%d",
            b"..%d",
            b"a..b%d",
            b"line\nbreak%d",
            "ünïcödé-图片-%d".encode(),
            b"not-utf8-\xff\xfe-%d",
            b"per%%cent%d",
            b" space %d ",
            b"quote\"'%d",
        ]
    )
    name = stem % number + rng.choice([b".png", b".jpg", b".PNG", b"", b".txt"])
    return name + b"x" * (255 - len(name)) if rng.random() < 0.05 else name


def run_prepare(*arguments: object) -> subprocess.CompletedProcess:
    """Runs prepare in a separate process and checks its errors, exit code and peak memory."""
    script = (
        "import atexit, os, re; from components.base import command_line\n"
        "from pipeline import __main__ as command\n"
        "end = os._exit\n"
        "def report(code):\n"
        # Not the peak of getrusage: a child process inherits that of its parent.
        "    status = open('/proc/self/status').read()\n"
        "    print(re.search(r'VmHWM:\\s+(\\d+) kB', status)[1], flush=True); end(code)\n"
        "os._exit = report; atexit.register(report, 0)\n"
        "command_line.run(command.main)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "prepare", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        timeout=120,
    )
    assert "Traceback" not in done.stderr.decode(), done.stderr.decode()
    assert done.returncode in (0, 1, 2), done.stderr.decode()
    if done.returncode:
        assert done.stderr.decode().splitlines()[-1].startswith("error: ")
    assert int(done.stdout.split()[-1]) * 1024 < MEMORY_LIMIT
    return done


def check_ledger(directory: Path, num_inputs: int) -> None:
    """Checks that every input is in a shard or in quarantine, once, as the manifest counts it."""
    prepared = PreparedDataset.open(directory)
    rows = [json.loads(line) for line in (directory / QUARANTINE).read_text().splitlines()]
    kept = [id_ for split in prepared.splits for id_ in prepared.read(split).ids]
    distinct = {*kept, *(row["id"] for row in rows)}
    assert len(kept) + len(rows) == len(distinct) == num_inputs
    assert {row["reason"] for row in rows} <= {str(reason) for reason in Reason}
    counts = prepared.artifact.manifest.counts
    assert (counts["inputs"], counts["kept"]) == (num_inputs, len(kept))
    for entry in counts["ledger"].values():
        assert entry["inputs"] == entry["kept"] + entry["quarantined"]
        assert sum(entry["reasons"].values()) == entry["quarantined"]


@pytest.mark.parametrize("seed", range(4))
def test_every_mutated_file_of_a_folder_is_accounted_for(tmp_path, seed):
    rng = random.Random(seed)
    root = os.fsencode(tmp_path / "images")
    for number in range(FILES_PER_RUN):
        folder = os.path.join(
            root, rng.choice([b"train", b"test"]), rng.choice([b"a", b"b\n", b"\xc3\xa9"])
        )
        os.makedirs(folder, exist_ok=True)
        data = encoded_image(rng)
        if number % 6:
            data = rng.choice(MUTATIONS)(rng, data)
        if number % 200 == 1:
            data = make_bomb(rng, data)
        with open(os.path.join(folder, file_name(rng, number)), "wb") as file:
            file.write(data)
    os.mkfifo(os.path.join(root, b"train", b"pipe.png"))
    os.symlink("nowhere", os.path.join(root, b"train", b"dangling.png"))
    fields = [] if seed % 2 else ["--channels", 3, "--image_size", 8]
    done = run_prepare("--dataset", tmp_path / "images", "--output", tmp_path / "out", *fields)
    assert done.returncode == 0, done.stderr.decode()
    check_ledger(tmp_path / "out", FILES_PER_RUN + 2)


def test_every_mutated_record_is_accounted_for(tmp_path):
    rng = random.Random(7)
    payloads = []
    for number in range(FILES_PER_RUN):
        image = encoded_image(rng)
        if number % 6:
            image = rng.choice(MUTATIONS)(rng, image)
        payload = tf_example.serialize(b"%d" % number, image, rng.choice([0, 1, 2, -5, 2**40]))
        payloads.append(flip_bits(rng, payload) if number % 10 == 3 else payload)
    write_records(tmp_path / "mine-train.tfrecord", payloads)
    for features in ("image=image,label=label", "image=image:8x6x1,label=label"):
        output = tmp_path / f"out{len(features)}"
        done = run_prepare("--dataset", tmp_path, "--features", features, "--output", output)
        if done.returncode == 0:
            check_ledger(output, FILES_PER_RUN)


@pytest.mark.parametrize("kind", ["tfrecord", "npz", "idx"])
def test_a_damaged_file_of_many_images_is_read_completely_or_refused(tmp_path, kind):
    """The error is one line that names the file."""
    rng = random.Random(kind)
    pixels = np.frombuffer(rng.randbytes(20 * 48), np.uint8).reshape(20, 8, 6)
    buffer = io.BytesIO()
    if kind == "npz":
        np.savez_compressed(buffer, train_images=pixels, train_labels=np.arange(20))
    if kind == "idx":
        buffer.write(struct.pack(">HBB3I", 0, 8, 3, *pixels.shape) + pixels.tobytes())
    if kind == "tfrecord":
        for row, image in enumerate(pixels):
            buffer.write(tfrecord.frame(tf_example.serialize(b"%d" % row, image.tobytes(), row)))
    name = {"tfrecord": "a.tfrecord", "npz": "a.npz", "idx": "train-images-idx3-ubyte"}[kind]
    features = ["--features", "image=image:8x6x1,label=label"] if kind == "tfrecord" else []
    for number in range(3):
        path = tmp_path / str(number) / name
        path.parent.mkdir()
        path.write_bytes(rng.choice([truncate, flip_bits, insert_zeros])(rng, buffer.getvalue()))
        output = tmp_path / f"out{number}"
        done = run_prepare("--dataset", path, *features, "--output", output)
        if done.returncode == 0:
            check_ledger(output, 20)
        else:
            assert name in done.stderr.decode().splitlines()[-1]
            assert not output.exists()


BOMB_BYTES = 2 << 30


def write_zeros(file: IO[bytes], size: int) -> None:
    """Writes zeros in pieces."""
    for start in range(0, size, 1 << 24):
        file.write(bytes(min(1 << 24, size - start)))


def labels_bomb(root: Path) -> list[str]:
    """An archive of 2 MB with 2 GiB of labels."""
    arrays = {"images": ((2, 8, 8), 128), "labels": ((BOMB_BYTES,), BOMB_BYTES)}
    with zipfile.ZipFile(root / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, (shape, size) in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                write_zeros(file, size)
    return [str(root / "a.npz")]


def idx_bomb(root: Path) -> list[str]:
    """A gzipped IDX file of 2 MB with 2 GiB of labels."""
    (root / "train-images-idx3-ubyte").write_bytes(bytes.fromhex("00000803") + bytes(12))
    with gzip.open(root / "train-labels-idx1-ubyte.gz", "wb") as file:
        file.write(struct.pack(">HBBI", 0, 8, 1, BOMB_BYTES))
        write_zeros(file, BOMB_BYTES)
    return [str(root)]


def record_bomb(root: Path) -> list[str]:
    """A gzipped TFRecord file of 2 MB with one record of 2 GiB."""
    with gzip.open(root / "a.tfrecord", "wb") as file:
        length = struct.pack("<Q", BOMB_BYTES)
        file.write(length + struct.pack("<I", tfrecord.masked_crc(length)))
        write_zeros(file, BOMB_BYTES + 4)
    return [str(root / "a.tfrecord"), "--features", "image=image"]


@pytest.mark.slow
@pytest.mark.parametrize("write", [labels_bomb, idx_bomb, record_bomb])
def test_small_files_that_hold_gigabytes_are_refused_before_they_are_unpacked(tmp_path, write):
    arguments = write(tmp_path)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 4_000_000
    done = run_prepare("--output", tmp_path / "out", "--dataset", *arguments)
    assert done.returncode == 2
    assert b"--load_bytes" in done.stderr
