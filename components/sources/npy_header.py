"""Headers of NumPy arrays, in .npy files and in .npz archives."""

import dataclasses
import io
import tokenize
import zipfile

import numpy as np
from etils import epath

from components.base import files
from components.base.errors import ConfigError, WorkError
from components.sources.array_file import TRUNCATED, StoredArray, open_stream, read_up_to
from components.sources.array_source import SLICE_BYTES
from components.sources.escaping import escape

# NumPy's own readers refuse longer headers.
_HEADER_BYTES = 1 << 14
# The local header of a zip member has 30 bytes; the last 4 are the lengths of the two fields that
# follow it, name and extra.
_ZIP_HEADER_BYTES = 30
# The last two come from deep nesting.
_HEADER_ERRORS = (
    ValueError,
    TypeError,
    SyntaxError,
    tokenize.TokenError,
    MemoryError,
    RecursionError,
)


def read_header(path: epath.Path, member: str, *, sliced: bool) -> StoredArray:
    """Reads the header of an array.

    Args:
      path: the .npy file or .npz archive.
      member: name of the archive's member; "" for an .npy file.
      sliced: whether the array is to be read in slices if that is possible.

    Raises:
      ConfigError: it is an array of objects, a single number, or in Fortran order.
      WorkError: it is not an array, or its size is not the one in its header.
    """
    name = array_name(path, member)
    shape, fortran_order, dtype, start = _parse_header(name, _read_head(name, path, member))
    _check_layout(name, shape, fortran_order, dtype)
    array = StoredArray(name, path, member, shape, dtype, start, seekable=not member)
    if not member:
        array.check_size(files.stat(path).size - start)
        return array
    with open_stream(path) as file, zipfile.ZipFile(file) as archive:
        info = archive.getinfo(member)
        array.check_size(info.file_size - start)
        is_small = info.file_size <= SLICE_BYTES
        if info.compress_type != zipfile.ZIP_STORED or is_small or not sliced:
            return array
        offset = _member_offset(file, info)
        # The directory of the archive may claim more bytes than the archive holds.
        array.check_size(min(info.file_size, files.stat(path).size - offset) - start)
        start += offset
    # An uncompressed member is a contiguous part of the archive. Many workers can read it in
    # parallel, but without the zip checksum, which covers the whole member.
    return dataclasses.replace(array, member="", start=start, seekable=True)


def read_shape_and_type(path: epath.Path, member: str) -> tuple[tuple[int, ...], np.dtype]:
    """The shape and the type of an array; nothing else is checked.

    Args:
      path: the .npy file or .npz archive.
      member: name of the archive's member; "" for an .npy file.

    Raises:
      WorkError: it is not an array.
    """
    name = array_name(path, member)
    shape, _, dtype, _ = _parse_header(name, _read_head(name, path, member))
    return shape, dtype


def array_name(path: epath.Path, member: str) -> str:
    """Name of a file and of the array in it, for messages."""
    return f"{path}: {escape(member.removesuffix('.npy'))}" if member else f"{path}"


def _read_head(name: str, path: epath.Path, member: str) -> bytes:
    """The beginning of an array's file, with its whole header."""
    with open_stream(path, member) as stream:
        head, flaw = read_up_to(stream, _HEADER_BYTES)
    # Most files are shorter than the longest header.
    if flaw not in ("", TRUNCATED):
        raise WorkError(f"{name} cannot be read: {flaw}; restore the file")
    return bytes(head)


def _check_layout(name: str, shape: tuple[int, ...], fortran_order: bool, dtype: np.dtype) -> None:
    """Raises ConfigError unless an array's elements are numbers that are stored row by row."""
    if dtype.hasobject:
        raise ConfigError(
            f"{name} holds Python objects, which are never loaded; save an array of numbers"
        )
    if not shape:
        raise ConfigError(
            f"{name} is a single number; save images with shape [N, height, width], labels with [N]"
        )
    if fortran_order and len(shape) > 1:
        raise ConfigError(f"{name} is in Fortran order; save it again after np.ascontiguousarray")


def _member_offset(archive: io.BufferedIOBase, info: zipfile.ZipInfo) -> int:
    """Offset of a member's data in an archive, in bytes."""
    archive.seek(info.header_offset + _ZIP_HEADER_BYTES - 4)
    name_and_extra = np.frombuffer(archive.read(4), "<u2")
    return info.header_offset + _ZIP_HEADER_BYTES + int(name_and_extra.sum())


def _parse_header(name: str, head: bytes) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Shape, whether in Fortran order, type, and the offset of the first element in bytes."""
    stream = io.BytesIO(head)
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
        else:
            shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(stream)
        if min(shape, default=0) < 0:
            raise ValueError("a negative size")
    except _HEADER_ERRORS:
        raise WorkError(
            f"{name} is not a NumPy array, or its header is damaged; restore the file"
        ) from None
    return shape, fortran_order, dtype, stream.tell()
