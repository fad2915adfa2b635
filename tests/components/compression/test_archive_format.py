import dataclasses

import numpy as np
import pytest

from components.compression import archive_format
from components.compression.archive_format import ArchiveHeader
from components.compression.blocks import CodedBlock

SHAPE = (4, 4, 1)
STATES = np.array([1 << 32, (1 << 64) - 1], np.uint64)
BLOCK = CodedBlock(2, 3, STATES, np.arange(5, dtype=np.uint32), "probe", "pixels")


def test_a_block_comes_back_from_its_bytes():
    record, data = archive_format.pack_block(BLOCK)
    assert (record.images, record.borrowed, record.bytes) == (2, 3, 2 * 8 + 5 * 4)
    found = archive_format.unpack_block(record, data, SHAPE)
    assert (found.states == BLOCK.states).all()
    assert (found.words == BLOCK.words).all()
    assert (found.probe, found.pixels) == ("probe", "pixels")


@pytest.mark.parametrize("size", [0, 15, 17])
def test_bytes_that_are_no_block_are_refused(size):
    record, data = archive_format.pack_block(BLOCK)
    with pytest.raises(ValueError, match="impossible size"):
        archive_format.unpack_block(record, data[:size], SHAPE)
    with pytest.raises(ValueError, match="impossible state"):
        archive_format.unpack_block(record, bytes(len(data)), SHAPE)


def test_only_numbers_that_fit_each_other_are_a_header():
    record, _ = archive_format.pack_block(BLOCK)
    header = ArchiveHeader(2, "m", SHAPE, 8, "input", 10, "index", [record])
    archive_format.check(header)
    assert (header.images, header.block_bytes) == (2, record.bytes)
    for change in (
        {"latent_bits": 0},
        {"image_shape": (4, 4, 2)},
        {"index_bytes": -1},
        {"blocks": [dataclasses.replace(record, images=0)]},
        {"blocks": [dataclasses.replace(record, borrowed=-1)]},
    ):
        with pytest.raises(ValueError, match=r" is |impossible"):
            archive_format.check(dataclasses.replace(header, **change))
