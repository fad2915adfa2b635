import dataclasses
import hashlib
import json

import numpy as np
import pytest
from etils import epath

from components.base.errors import ConfigError, WorkError
from components.compression import archive, archive_format
from components.compression.archive import Archive
from components.compression.archive_format import MAGIC, ArchiveHeader
from components.compression.blocks import CodedBlock

SHAPE = (4, 4, 1)
INDEX = {"kind": "test", "names": ["ä", "b"]}


def coded_block(images, seed):
    rng = np.random.default_rng(seed)
    states = rng.integers(1 << 32, 1 << 63, images, np.uint64)
    words = rng.integers(0, 1 << 32, 10 + seed, np.uint32)
    return CodedBlock(images, 3, states, words, "probe", "pixels")


BLOCKS = [coded_block(3, 0), coded_block(2, 1)]


@pytest.fixture
def path(tmp_path):
    path = epath.Path(tmp_path / "x.vaez")
    packed = [archive_format.pack_block(block) for block in BLOCKS]
    index = archive_format.pack_index(INDEX)
    header = ArchiveHeader(
        archive_format.VERSION, "m" * 64, SHAPE, 8, "input", len(index),
        archive_format.digest(index), [record for record, _ in packed],
    )  # fmt: skip
    with path.open("wb") as file:
        archive_format.write(file, header, index, [data for _, data in packed])
    return path


def read_all(path):
    found = Archive(path)
    found.check_whole()
    return found.read_index(), [found.read_block(n) for n in range(len(found.header.blocks))]


def test_what_is_written_comes_back(path):
    index, blocks = read_all(path)
    assert index == INDEX
    assert Archive(path).header.images == 5
    for block, expected in zip(blocks, BLOCKS, strict=True):
        assert (block.states == expected.states).all()
        assert (block.words == expected.words).all()
        assert (block.images, block.borrowed) == (expected.images, expected.borrowed)


def test_every_flipped_byte_is_found(path):
    data = path.read_bytes()
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 0x10
        path.write_bytes(bytes(changed))
        with pytest.raises((ConfigError, WorkError)) as error:
            read_all(path)
        assert "\n" not in str(error.value)


def test_every_truncation_is_found(path):
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises((ConfigError, WorkError)):
            read_all(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(WorkError, match="its header says"):
        read_all(path)


def test_one_damaged_block_costs_no_other(path):
    data = bytearray(path.read_bytes())
    found = Archive(path)
    first = len(data) - 32 - found.header.block_bytes
    data[first] ^= 1
    path.write_bytes(bytes(data))
    found = Archive(path)
    with pytest.raises(WorkError, match="block 0"):
        found.read_block(0)
    assert (found.read_block(1).words == BLOCKS[1].words).all()


def write_header(path, header):
    text = json.dumps(header).encode()
    start = MAGIC + len(text).to_bytes(4, "little") + text
    path.write_bytes(start + hashlib.sha256(start).digest())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_shape": [0, 4, 1]}, "image_shape is"),
        ({"latent_bits": 99}, "latent_bits is 99"),
        ({"index_bytes": -1}, "index_bytes is -1"),
        ({"unknown": 1}, "unknown is unknown"),
        ({"blocks": [{"images": 0, "borrowed": 0, "bytes": 8, "sha256": "", "probe": "",
                      "pixels": ""}]}, "impossible size"),
    ],
)  # fmt: skip
def test_a_header_that_contradicts_itself_is_refused(path, change, message):
    header = dataclasses.asdict(Archive(path).header) | change
    write_header(path, header)
    with pytest.raises(WorkError, match=message):
        Archive(path)


def test_foreign_files_and_later_versions_are_named(path):
    write_header(path, dataclasses.asdict(Archive(path).header) | {"version": 3})
    with pytest.raises(ConfigError, match="has version 3 of the format"):
        Archive(path)
    for content in (b"", b"PK\3\4 a zip", b"x" * 1000):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="is not a file of compressed images"):
            Archive(path)


def test_an_index_that_unpacks_to_too_much_is_refused(path, monkeypatch):
    monkeypatch.setattr(archive, "_INDEX_BYTES", 1)
    monkeypatch.setattr(archive, "_NAME_BYTES", 1)
    with pytest.raises(WorkError, match="the index is too large"):
        Archive(path).read_index()
