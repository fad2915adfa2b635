import io
import random
import zipfile

import numpy as np
import pytest

from components.base.plain_zip import PlainZip

MEMBERS = {"a.txt": b"text " * 20, "folder/b.bin": bytes(range(256))}


def archive_of(members, **kwargs) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **kwargs) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


INTACT = archive_of(MEMBERS.items())


def read_all(data: bytes) -> dict[str, bytes]:
    archive = PlainZip(io.BytesIO(data))
    return {name: archive.read(name) for name in archive.sizes}


def test_members_are_read():
    assert read_all(INTACT) == MEMBERS
    sizes = {name: len(content) for name, content in MEMBERS.items()}
    assert PlainZip(io.BytesIO(INTACT)).sizes == sizes


def test_an_archive_of_numpy_is_plain():
    buffer = io.BytesIO()
    np.savez(buffer, a=np.arange(5), b=np.zeros(0))
    assert list(PlainZip(buffer).sizes) == ["a.npy", "b.npy"]


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compressed_member_is_refused_before_it_is_read(method):
    bomb = archive_of([("zeros", bytes(10_000_000))], compression=method)
    with pytest.raises(ValueError, match="its member 'zeros' is compressed"):
        PlainZip(io.BytesIO(bomb))


def test_a_member_that_claims_to_be_larger_than_the_file_is_refused():
    data = archive_of([("a", b"12345")])
    # In the central directory, both sizes of the member follow its CRC.
    at = data.index(b"PK\1\2") + 20
    for claim in (2**31, len(data) + 1):
        sizes = claim.to_bytes(4, "little")
        with pytest.raises(ValueError, match="its member 'a' claims to be larger than the file"):
            PlainZip(io.BytesIO(data[:at] + 2 * sizes + data[at + 8 :]))
    with pytest.raises(ValueError, match="its member 'a' claims to be larger than the file"):
        PlainZip(io.BytesIO(data[: at + 4] + sizes + data[at + 8 :]))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_repeated_name_is_refused():
    with pytest.raises(ValueError, match="two members named 'a'"):
        PlainZip(io.BytesIO(archive_of([("a", b"1"), ("a", b"2")])))


@pytest.mark.parametrize("data", [b"", b"text", INTACT[:-5], b"PK\5\6"])
def test_what_is_no_archive_is_refused(data):
    with pytest.raises(ValueError, match="it is not an intact zip archive"):
        PlainZip(io.BytesIO(data))


def test_an_archive_without_its_beginning_is_refused():
    with pytest.raises(ValueError, match=r"its member 'a\.txt' claims to be larger"):
        PlainZip(io.BytesIO(INTACT[200:]))


def test_damage_is_a_value_error_or_changes_no_content():
    rng = random.Random(0)
    errors = []
    for _ in range(2000):
        data = bytearray(INTACT)
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        try:
            found = read_all(bytes(data))
        except ValueError as error:
            errors.append(error)
        else:
            assert set(found.values()) <= set(MEMBERS.values())
    assert len(errors) > 1000
