import pytest
import tensorflow as tf

from components import records
from components.errors import WorkError

PAYLOADS = [b"", b"a", b"bcd" * 1000]


@pytest.fixture
def path(tmp_path):
    records.write_records(tmp_path / "file", PAYLOADS)
    return tmp_path / "file"


def test_read_back(path):
    assert list(records.read_records(path)) == PAYLOADS


def test_tensorflow_reads_ours_and_we_read_tensorflows(path, tmp_path):
    assert list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()) == PAYLOADS
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for payload in PAYLOADS:
            writer.write(payload)
    assert (tmp_path / "theirs").read_bytes() == path.read_bytes()


def test_every_flipped_bit_is_found(tmp_path):
    whole = records.frame(b"abc") + records.frame(b"defgh")
    first = len(records.frame(b"abc"))
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        (tmp_path / "file").write_bytes(damaged)
        number = int(place >= first)
        with pytest.raises(WorkError, match=rf"record {number} of \S*file "):
            list(records.read_records(tmp_path / "file"))


def test_every_truncation_is_found(tmp_path):
    first = records.frame(b"abc")
    whole = first + records.frame(b"defgh")
    for length in set(range(len(whole))) - {0, len(first)}:
        (tmp_path / "file").write_bytes(whole[:length])
        with pytest.raises(WorkError, match=rf"record {int(length > len(first))} of"):
            list(records.read_records(tmp_path / "file"))
