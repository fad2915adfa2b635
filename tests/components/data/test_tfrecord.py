import gzip
import struct
import tracemalloc

import pytest
import tensorflow as tf

from components.base.errors import WorkError
from components.data import tfrecord

PAYLOADS = [b"", b"a", b"bcd" * 1000]


@pytest.fixture
def path(tmp_path):
    tfrecord.write_records(tmp_path / "file", PAYLOADS)
    return tmp_path / "file"


def test_read_back(path):
    assert list(tfrecord.read_records(path)) == PAYLOADS


def test_tensorflow_reads_ours_and_we_read_tensorflows(path, tmp_path):
    assert list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()) == PAYLOADS
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for payload in PAYLOADS:
            writer.write(payload)
    assert (tmp_path / "theirs").read_bytes() == path.read_bytes()


def test_every_flipped_bit_is_found(tmp_path):
    whole = tfrecord.frame(b"abc") + tfrecord.frame(b"defgh")
    first = len(tfrecord.frame(b"abc"))
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        (tmp_path / "file").write_bytes(damaged)
        number = int(place >= first)
        with pytest.raises(WorkError, match=rf"record {number} of \S*file "):
            list(tfrecord.read_records(tmp_path / "file"))


def test_every_truncation_is_found(tmp_path):
    first = tfrecord.frame(b"abc")
    whole = first + tfrecord.frame(b"defgh")
    for length in set(range(len(whole))) - {0, len(first)}:
        (tmp_path / "file").write_bytes(whole[:length])
        with pytest.raises(WorkError, match=rf"record {int(length > len(first))} of"):
            list(tfrecord.read_records(tmp_path / "file"))


@pytest.mark.parametrize("gzipped", [False, True])
def test_records_are_skipped(path, gzipped):
    if gzipped:
        path.write_bytes(gzip.compress(path.read_bytes()))
    for skip in range(len(PAYLOADS) + 2):
        assert list(tfrecord.read_records(path, skip=skip)) == PAYLOADS[skip:]


def test_of_skipped_records_the_headers_are_checked(tmp_path):
    first = tfrecord.frame(b"abc")
    whole = first + tfrecord.frame(b"defgh")
    for length in set(range(len(whole))) - {0, len(first)}:
        (tmp_path / "file").write_bytes(whole[:length])
        with pytest.raises(WorkError, match=rf"record {int(length > len(first))} of"):
            list(tfrecord.read_records(tmp_path / "file", skip=2))
    (tmp_path / "file").write_bytes(first[:8] + b"0000" + whole[12:])
    with pytest.raises(WorkError, match=r"record 0 of .* has a wrong length checksum"):
        list(tfrecord.read_records(tmp_path / "file", skip=2))


def test_a_gzipped_file_that_is_damaged(path):
    whole = gzip.compress(path.read_bytes())
    for damaged in (whole[:-9], whole[:-5] + b"0" + whole[-4:], whole[:10] + b"\xff" + whole[11:]):
        path.write_bytes(damaged)
        with pytest.raises(
            WorkError, match=r"damaged TFRecord: record \d of .*file cannot be read"
        ):
            list(tfrecord.read_records(path))


def test_a_record_whose_length_begins_as_a_gzip_file_does(path):
    payload = bytes(int.from_bytes(b"\x1f\x8b\x08", "little"))
    tfrecord.write_records(path, [payload])
    assert path.read_bytes().startswith(b"\x1f\x8b\x08")
    assert list(tfrecord.read_records(path)) == [payload]


def test_a_record_longer_than_a_piece(path, monkeypatch):
    monkeypatch.setattr(tfrecord, "_PIECE_BYTES", 7)
    assert list(tfrecord.read_records(path)) == PAYLOADS
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(WorkError, match=r"record 2 of .* is truncated"):
        list(tfrecord.read_records(path))


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize("length", [1 << 36, 1 << 60, 2**64 - 1])
@pytest.mark.parametrize("skip", [0, 1])
def test_a_length_beyond_the_file_claims_no_memory(path, length, gzipped, skip):
    header = struct.pack("<Q", length)
    data = header + struct.pack("<I", tfrecord.masked_crc(header)) + b"abc"
    path.write_bytes(gzip.compress(data) if gzipped else data)
    tracemalloc.start()
    with pytest.raises(WorkError, match=r"record 0 of .* is truncated"):
        list(tfrecord.read_records(path, skip=skip))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 << 20


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    with pytest.raises(WorkError, match=r"record 0 of \S+ cannot be read \(No such file"):
        list(tfrecord.read_records(tmp_path / "nothing"))
