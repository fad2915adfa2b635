import dataclasses
import gzip
import io
import tracemalloc
import zipfile

import numpy as np
import pytest
from etils import epath

from components.base.errors import ConfigError, WorkError
from components.sources.array_file import (
    TRUNCATED,
    StoredArray,
    open_stream,
    read_up_to,
)

ROWS = np.random.default_rng(0).integers(0, 2**15, (30, 5, 4)).astype("<i2")
HEADER = b"header"
CONTENT = HEADER + ROWS.tobytes()


def write(path, data: bytes) -> epath.Path:
    path.write_bytes(data)
    return epath.Path(path)


def write_zip(path, data: bytes, compression: int = zipfile.ZIP_DEFLATED) -> epath.Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("rows", data)
    return epath.Path(path)


def stored_array(path: epath.Path, member: str = "", *, seekable: bool = False) -> StoredArray:
    return StoredArray(
        f"{path}: rows", path, member, ROWS.shape, ROWS.dtype, len(HEADER), seekable=seekable
    )


# Each writes `data` to a file and returns the array that it holds.
FORMATS = {
    "plain": lambda path, data: stored_array(write(path, data), seekable=True),
    "gzip": lambda path, data: stored_array(write(path, gzip.compress(data))),
    "zip": lambda path, data: stored_array(write_zip(path, data), "rows"),
    "stored zip": lambda path, data: stored_array(
        write_zip(path, data, zipfile.ZIP_STORED), "rows"
    ),
}
COMPRESSED = [name for name in FORMATS if name != "plain"]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("batch_rows", [1, 7, 30, 1000])
def test_the_rows_are_read_in_batches(tmp_path, name, batch_rows):
    array = FORMATS[name](tmp_path / "file", CONTENT)
    batches = list(array.batches(0, 30, batch_rows))
    assert [len(batch) for batch in batches[:-1]] == [batch_rows] * (len(batches) - 1)
    np.testing.assert_array_equal(np.concatenate(batches), ROWS)
    np.testing.assert_array_equal(array.read(), ROWS)
    assert array.read().dtype == ROWS.dtype


def test_reading_can_start_at_any_row_of_a_plain_file(tmp_path):
    array = FORMATS["plain"](tmp_path / "file", CONTENT)
    np.testing.assert_array_equal(np.concatenate(list(array.batches(11, 9, 4))), ROWS[11:20])


def test_the_sizes_follow_from_the_header(tmp_path):
    array = FORMATS["plain"](tmp_path / "file", CONTENT)
    assert (array.rows, array.row_bytes) == (30, 40)


@pytest.mark.parametrize("name", FORMATS)
def test_an_array_without_rows_is_empty(tmp_path, name):
    array = dataclasses.replace(FORMATS[name](tmp_path / "file", HEADER), shape=(0, 5, 4))
    assert array.read().shape == (0, 5, 4)


@pytest.mark.parametrize("name", FORMATS)
def test_a_truncated_array_names_the_row(tmp_path, name):
    array = FORMATS[name](tmp_path / "file", CONTENT[: len(HEADER) + 12 * 40 + 7])
    with pytest.raises(WorkError, match=r"file: rows can be read up to image 12 of 30: the data"):
        array.read()


@pytest.mark.parametrize("name", COMPRESSED)
def test_trailing_data_is_detected(tmp_path, name):
    array = FORMATS[name](tmp_path / "file", CONTENT + b"x")
    with pytest.raises(WorkError, match=r"up to image 30 of 30: it continues beyond the size"):
        array.read()


@pytest.mark.parametrize("name", COMPRESSED)
def test_a_flipped_bit_is_detected(tmp_path, name):
    array = FORMATS[name](tmp_path / "file", CONTENT)
    data = bytearray((tmp_path / "file").read_bytes())
    data[len(data) // 2] ^= 4
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(WorkError, match=r"can be read up to image \d+ of 30: .*; restore the file"):
        array.read()


@pytest.mark.parametrize(
    ("num_bytes", "message"),
    [
        (1199, "image 29 of 30: the data ends there"),
        (0, "image 0 of 30: the data ends there"),
        (1201, "image 30 of 30: it continues"),
    ],
)
def test_the_size_is_checked_before_reading(tmp_path, num_bytes, message):
    array = FORMATS["plain"](tmp_path / "file", CONTENT)
    array.check_size(1200)
    with pytest.raises(WorkError, match=message):
        array.check_size(num_bytes)


def test_labels_are_called_labels(tmp_path):
    array = dataclasses.replace(FORMATS["plain"](tmp_path / "file", CONTENT), shape=(601,))
    with pytest.raises(WorkError, match="up to label 600 of 601"):
        array.read()


@pytest.mark.parametrize("name", FORMATS)
def test_memory_is_bounded_by_the_file_and_not_by_its_header(tmp_path, name):
    array = dataclasses.replace(FORMATS[name](tmp_path / "file", CONTENT), shape=(10**12, 5, 4))
    tracemalloc.start()
    try:
        with pytest.raises(WorkError, match=f"up to image 30 of {10**12}"):
            next(array.batches(0, 10**12, 10**12))
        assert tracemalloc.get_traced_memory()[1] < 6 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_the_content_determines_whether_a_file_is_gzipped(tmp_path, suffix):
    for data in (CONTENT, gzip.compress(CONTENT)):
        with open_stream(write(tmp_path / f"file{suffix}", data)) as stream:
            assert stream.read() == CONTENT


def test_a_missing_file_is_one_line(tmp_path):
    with (
        pytest.raises(WorkError, match=r"none cannot be read: No such file.*; restore the file"),
        open_stream(epath.Path(tmp_path / "none")),
    ):
        pass


def test_a_file_that_is_not_an_archive_is_one_line(tmp_path):
    path = write(tmp_path / "file", CONTENT)
    with (
        pytest.raises(WorkError, match="file cannot be read: File is not a zip file"),
        open_stream(path, "rows"),
    ):
        pass


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compression_that_numpy_never_uses_is_refused(tmp_path, compression):
    path = write_zip(tmp_path / "file", CONTENT, compression)
    with (
        pytest.raises(ConfigError, match=r"rows is encrypted, or .*; save it again with np\.savez"),
        open_stream(path, "rows"),
    ):
        pass


def test_an_encrypted_member_is_refused(tmp_path):
    path = write_zip(tmp_path / "file", CONTENT)
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1  # the flag in the archive's directory
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="rows is encrypted"), open_stream(path, "rows"):
        pass


def test_reading_returns_what_precedes_the_end_or_the_damage():
    assert read_up_to(io.BytesIO(b"abc"), 2) == (b"ab", "")
    assert read_up_to(io.BytesIO(b"abc"), 3) == (b"abc", "")
    assert read_up_to(io.BytesIO(b"abc"), 4) == (b"abc", TRUNCATED)
    noise = np.random.default_rng(0).bytes(100_000)
    truncated = gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(noise)[:60_000]))
    data, flaw = read_up_to(truncated, 100_000)
    assert noise.startswith(data)
    assert len(data) > 40_000
    assert "ended before" in flaw
