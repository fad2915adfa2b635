"""TFRecord files for tests."""

from collections.abc import Iterable
from pathlib import Path

from components.data import tfrecord


def write_records(path: Path, payloads: Iterable[bytes]) -> None:
    """Writes `payloads` to a TFRecord file, one record each."""
    path.write_bytes(b"".join(map(tfrecord.frame, payloads)))
