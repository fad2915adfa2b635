import numpy as np
from etils import epath

from components.compression import archive_format
from components.compression.blocks import CodedBlock
from pipeline.compress import block_worker


def test_a_damaged_block_file_is_as_if_it_were_missing(tmp_path):
    path = epath.Path(tmp_path / "block")
    assert block_worker.read_block_file(path) is None
    block = CodedBlock(1, 0, np.full(1, 1 << 40, np.uint64), np.arange(9, dtype=np.uint32), "", "")
    record, data = archive_format.pack_block(block)
    whole = block_worker.packed(record, data)
    path.write_bytes(whole)
    assert block_worker.read_block_file(path) == (record, data)
    for content in (whole[:-1], whole[:20], b"", b"\n", b"[]\n" + data):
        path.write_bytes(content)
        assert block_worker.read_block_file(path) is None


def test_the_digest_is_that_of_the_pixels():
    images = np.zeros((2, 3, 3, 1), np.uint8)
    assert block_worker.pixels_digest(images) == archive_format.digest(bytes(18))


def test_processes_to_come_multiply_on_one_thread(monkeypatch):
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    block_worker.limit_threads()
    import os

    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"
