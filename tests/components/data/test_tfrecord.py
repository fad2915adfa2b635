import gzip
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import tensorflow as tf

from components.base.errors import ConfigError, WorkError
from components.data import tfrecord
from tests.tfrecords import write_records

PAYLOADS = [b"", b"a", b"bcd" * 1000]


@pytest.fixture
def path(tmp_path):
    write_records(tmp_path / "file", PAYLOADS)
    return tmp_path / "file"


def test_payloads_round_trip(path):
    assert list(tfrecord.read_records(path)) == PAYLOADS


def test_files_are_interchangeable_with_tensorflow(path, tmp_path):
    assert list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()) == PAYLOADS
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for payload in PAYLOADS:
            writer.write(payload)
    assert (tmp_path / "theirs").read_bytes() == path.read_bytes()


def test_every_flipped_bit_is_detected(tmp_path):
    intact = tfrecord.frame(b"abc") + tfrecord.frame(b"defgh")
    first_length = len(tfrecord.frame(b"abc"))
    for index in range(len(intact)):
        damaged = bytearray(intact)
        damaged[index] ^= 1 << (index % 8)
        (tmp_path / "file").write_bytes(damaged)
        number = int(index >= first_length)
        with pytest.raises(WorkError, match=rf"record {number} of \S*file "):
            list(tfrecord.read_records(tmp_path / "file"))


@pytest.mark.parametrize("skip", [0, 2])
def test_every_truncation_is_detected(tmp_path, skip):
    first = tfrecord.frame(b"abc")
    intact = first + tfrecord.frame(b"defgh")
    for length in set(range(len(intact))) - {0, len(first)}:
        (tmp_path / "file").write_bytes(intact[:length])
        with pytest.raises(WorkError, match=rf"record {int(length > len(first))} of"):
            list(tfrecord.read_records(tmp_path / "file", skip=skip))


@pytest.mark.parametrize("is_compressed", [False, True])
def test_records_can_be_skipped(path, is_compressed):
    if is_compressed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    for skip in range(len(PAYLOADS) + 2):
        assert list(tfrecord.read_records(path, skip=skip)) == PAYLOADS[skip:]


def test_the_headers_of_skipped_records_are_checked(tmp_path):
    data = tfrecord.frame(b"abc") + tfrecord.frame(b"defgh")
    (tmp_path / "file").write_bytes(data[:8] + b"0000" + data[12:])
    with pytest.raises(WorkError, match=r"record 0 of .* has a wrong length checksum"):
        list(tfrecord.read_records(tmp_path / "file", skip=2))


def test_damage_to_a_compressed_file_is_detected(path):
    intact = gzip.compress(path.read_bytes())
    for damaged in (
        intact[:-9],
        intact[:-5] + b"0" + intact[-4:],
        intact[:10] + b"\xff" + intact[11:],
    ):
        path.write_bytes(damaged)
        with pytest.raises(
            WorkError, match=r"damaged TFRecord: record \d of .*file cannot be read"
        ):
            list(tfrecord.read_records(path))


@pytest.mark.parametrize("is_gzipped", [False, True])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zlib.compress(bytes(300)), "file is compressed with ZLIB, which is not supported; write"),
        (zlib.compress(b"x" * 300, 9), "file is compressed with ZLIB"),
        (zlib.compress(b"", 0), "file is compressed with ZLIB"),
        (b"PK\3\4" + bytes(range(90)), "file is a zip file, not a TFRecord file; unpack it"),
        (b"\x89PNG\r\n\x1a\n" + bytes(90), "is a PNG, not a TFRecord file; convert it to PNG"),
        (b"id,label\n1,2\n", "file is text, not a TFRecord file; pass TFRecord files"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid",
            "is a Git LFS pointer, not a TFRecord",
        ),
        (b"\x89HDF\r\n\x1a\n" + bytes(90), "file is an HDF5 file, not a TFRecord file; read it"),
    ],
)
def test_a_file_of_another_type_is_named(tmp_path, is_gzipped, content, message):
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(content) if is_gzipped else content)
    with pytest.raises(ConfigError, match=message) as caught:
        list(tfrecord.read_records(path))
    assert "\n" not in str(caught.value)


def test_tensorflow_compresses_in_the_ways_that_are_recognized(tmp_path):
    for kind in ("GZIP", "ZLIB"):
        with tf.io.TFRecordWriter(str(tmp_path / kind), kind) as writer:
            for payload in PAYLOADS:
                writer.write(payload)
    assert list(tfrecord.read_records(tmp_path / "GZIP")) == PAYLOADS
    assert tfrecord.is_compressed(tmp_path / "GZIP")
    with pytest.raises(ConfigError, match="compressed with ZLIB"):
        list(tfrecord.read_records(tmp_path / "ZLIB"))


@pytest.mark.parametrize("length", [0x10000, 0x20000, 0x80000, 0x4D42, 0x789C, 0x9C78, 0x3550])
def test_a_damaged_length_is_not_taken_for_another_type(tmp_path, length):
    """The lengths begin like an ICO, a CUR, an IDX, a BMP, a ZLIB and a PGM file."""
    header = bytearray(tfrecord.frame(bytes(length))[:12])
    header[9] ^= 1
    (tmp_path / "file").write_bytes(bytes(header) + bytes(length + 4))
    with pytest.raises(WorkError, match=r"record 0 of .* has a wrong length checksum"):
        list(tfrecord.read_records(tmp_path / "file"))


def test_a_length_that_begins_like_a_gzip_file_is_read_as_a_length(path):
    payload = bytes(int.from_bytes(b"\x1f\x8b\x08", "little"))
    write_records(path, [payload])
    assert path.read_bytes().startswith(b"\x1f\x8b\x08")
    assert list(tfrecord.read_records(path)) == [payload]


def test_a_long_record_is_read_in_pieces(path, monkeypatch):
    monkeypatch.setattr(tfrecord, "_PIECE_BYTES", 7)
    assert list(tfrecord.read_records(path)) == PAYLOADS
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(WorkError, match=r"record 2 of .* is truncated"):
        list(tfrecord.read_records(path))


@pytest.mark.parametrize("is_compressed", [False, True])
@pytest.mark.parametrize("length", [1 << 36, 1 << 60, 2**64 - 1])
@pytest.mark.parametrize("skip", [0, 1])
def test_a_length_beyond_the_end_of_the_file_allocates_no_memory(path, length, is_compressed, skip):
    header = struct.pack("<Q", length)
    data = header + struct.pack("<I", tfrecord.masked_crc(header)) + b"abc"
    path.write_bytes(gzip.compress(data) if is_compressed else data)
    tracemalloc.start()
    with pytest.raises(WorkError, match=r"record 0 of .* is truncated"):
        list(tfrecord.read_records(path, skip=skip))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 << 20


def test_a_missing_file_is_an_error_of_one_line(tmp_path):
    with pytest.raises(WorkError, match=r"record 0 of \S+ cannot be read \(No such file"):
        list(tfrecord.read_records(tmp_path / "missing"))


@pytest.mark.parametrize("payload", PAYLOADS)
def test_the_length_of_a_record_is_in_its_header(payload):
    record = tfrecord.frame(payload)
    header = record[: tfrecord.HEADER_BYTES]
    assert tfrecord.record_length(header) == len(record)
    with pytest.raises(ValueError, match="wrong length checksum"):
        tfrecord.record_length(bytes([header[0] ^ 1]) + header[1:])
    with pytest.raises(ValueError, match="ends within a header"):
        tfrecord.record_length(header[:-1])


@pytest.mark.parametrize(
    "sizes", [[], [5], [5] * 4, [0] * 3, [5, 5, 5, 6], [6, 5, 5], [3, 70, 1, 1]], ids=str
)
def test_the_ends_of_complete_records_are_found_in_a_buffer_cut_anywhere(sizes):
    records = [tfrecord.frame(bytes(size)) for size in sizes]
    data = b"".join(records)
    ends = np.cumsum(list(map(len, records)), dtype=np.int64)
    for length in range(len(data) + 1):
        found = tfrecord.record_ends(data[:length])
        assert found.dtype == np.int64
        assert found.tolist() == ends[ends <= length].tolist()


def test_a_length_beyond_the_buffer_ends_no_record():
    for length in (1 << 40, 2**64 - 1):
        header = struct.pack("<QI", length, 0)
        assert tfrecord.record_ends(header + bytes(100)).tolist() == []
        record = tfrecord.frame(b"abc")
        assert tfrecord.record_ends(record + header + bytes(100)).tolist() == [len(record)]


def matrix(payloads: list[bytes]) -> np.ndarray:
    """The records of equally long payloads, as rows."""
    records = b"".join(map(tfrecord.frame, payloads))
    return np.frombuffer(records, np.uint8).reshape(len(payloads), -1).copy()


@pytest.mark.parametrize("size", [0, 1, 300])
@pytest.mark.parametrize("group_bytes", [1, 1000, 1 << 20])
def test_the_checksums_of_many_records_are_those_of_each(size, group_bytes, monkeypatch):
    monkeypatch.setattr(tfrecord, "_CHECKSUM_BYTES", group_bytes)
    rng = np.random.default_rng(0)
    expected = matrix([rng.bytes(size) for _ in range(20)])
    records = expected.copy()
    records[:, -tfrecord.FOOTER_BYTES :] = 7
    tfrecord.write_checksums(records)
    np.testing.assert_array_equal(records, expected)
    tfrecord.verify_checksums(records.tobytes(), records.shape[1])


@pytest.mark.parametrize("row", [0, 7, 19])
@pytest.mark.parametrize("column", [tfrecord.HEADER_BYTES, -5, -4, -1])
def test_a_wrong_byte_in_many_records_is_detected(row, column):
    records = matrix([bytes([number] * 50) for number in range(20)])
    records[row, column] ^= 1
    with pytest.raises(ValueError, match="has a wrong payload checksum"):
        tfrecord.verify_checksums(records.tobytes(), records.shape[1])
