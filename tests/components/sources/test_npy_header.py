import numpy as np
import pytest
from etils import epath

from components.base.errors import ConfigError, WorkError
from components.sources.npy_header import array_name, read_header, read_shape_and_type

VALUES = np.arange(24, dtype=">u2").reshape(4, 3, 2)


def saved(tmp_path, values: object) -> tuple[epath.Path, str]:
    np.save(tmp_path / "a.npy", values)
    return epath.Path(tmp_path / "a.npy"), ""


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_the_header_of_an_array_in_an_archive_is_read(tmp_path, save):
    save(tmp_path / "a.npz", x=VALUES)
    array = read_header(epath.Path(tmp_path / "a.npz"), "x.npy", sliced=True)
    assert (array.shape, array.dtype, array.member) == ((4, 3, 2), VALUES.dtype, "x.npy")
    assert (array.name, array.seekable) == (f"{tmp_path}/a.npz: x", False)
    np.testing.assert_array_equal(array.read(), VALUES)


def test_a_large_uncompressed_member_is_read_from_any_row(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (33, 1 << 20), np.uint8)
    np.savez(tmp_path / "a.npz", y=VALUES, x=values)
    path = epath.Path(tmp_path / "a.npz")
    assert not read_header(path, "x.npy", sliced=False).seekable
    array = read_header(path, "x.npy", sliced=True)
    assert (array.seekable, array.member) == (True, "")
    [rows] = array.batches(31, 2, 2)
    np.testing.assert_array_equal(rows, values[31:])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([None]), "holds Python objects, which are never loaded"),
        (np.float32(5), "is a single number"),
        (np.asfortranarray(np.ones((3, 2))), "is in Fortran order"),
    ],
)
def test_arrays_that_are_not_numbers_row_by_row_are_refused(tmp_path, values, message):
    path, member = saved(tmp_path, values)
    with pytest.raises(ConfigError, match=message):
        read_header(path, member, sliced=False)
    assert read_shape_and_type(path, member) == (values.shape, values.dtype)


# Deep nesting ends the parser with a MemoryError or a RecursionError.
@pytest.mark.parametrize("text", ["", "(" * 9000, "-" * 9000 + "1", "{" + "'a':1," * 1500 + "}"])
def test_a_damaged_header_is_one_line(tmp_path, text):
    path = epath.Path(tmp_path / "a.npy")
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode())
    for read in (read_shape_and_type, lambda *array: read_header(*array, sliced=False)):
        with pytest.raises(WorkError, match=r"a.npy is not a NumPy array, or its") as caught:
            read(path, "")
        assert "\n" not in str(caught.value)


def test_names_in_messages_are_escaped():
    assert array_name(epath.Path("a.npz"), "x\n.npy") == "a.npz: x%0A"
    assert array_name(epath.Path("a.npy"), "") == "a.npy"
