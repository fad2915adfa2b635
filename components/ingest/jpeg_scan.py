"""Decides whether a JPEG file without an end marker holds all of its pixels.

A decoder fills missing parts with gray and does not say where. Here the Huffman codes are counted
instead (ITU-T T.81, annex F), which is exact: the pixels are complete if and only if the codes of
all blocks end before the file does.
"""

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from components.base.arithmetic import ceil_div

END = b"\xff\xd9"
"""The end marker."""

_BASELINE, _EXTENDED, _HUFFMAN, _SCAN, _RESTARTS = 0xC0, 0xC1, 0xC4, 0xDA, 0xDD
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_OTHER_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7]")
_COEFFICIENTS = 64  # in a block

# For the next 16 bits: how many of them the code and the number after it take, and how many
# coefficients they stand for (0 for the end of the block).
_Table = list[tuple[int, int]]
_NO_CODE = (1 << 40, _COEFFICIENTS)  # More bits than the codes of any file have.


class _Component(NamedTuple):
    horizontal: int  # sampling factors
    vertical: int


def lacks_only_end(encoded: bytes) -> bool:
    """Whether a JPEG file is complete except for its end marker.

    Returns False for a file that has an end marker, and for files for which this cannot be decided:
    progressive, arithmetically coded, 12-bit or damaged ones, and those with several scans.
    """
    try:
        return _is_complete(encoded)
    except (struct.error, IndexError, KeyError, ValueError):
        return False  # The headers are damaged.


def _is_complete(encoded: bytes) -> bool:
    tables: dict[int, _Table] = {}  # by class (0 for DC, 1 for AC) << 4 | destination
    components: dict[int, _Component] = {}
    width = height = interval = 0
    for marker, data, end in _segments(encoded):
        if marker in (_BASELINE, _EXTENDED):
            precision, height, width, count = struct.unpack_from(">BHHB", data)
            if precision != 8:
                return False
            for key, factors, _ in struct.iter_unpack("3B", data[6 : 6 + 3 * count]):
                components[key] = _Component(factors >> 4, factors & 15)
        elif marker == _HUFFMAN:
            tables |= _tables(data)
        elif marker == _RESTARTS:
            (interval,) = struct.unpack(">H", data)
        elif marker == _SCAN:
            if data[0] != len(components):
                return False
            if len(data) != 4 + 2 * len(components):
                return False
            blocks = []  # of a minimum coded unit: their DC and AC tables
            for key, selectors in struct.iter_unpack("2B", data[1 : 1 + 2 * data[0]]):
                pair = tables[selectors >> 4], tables[16 | selectors & 15]
                component = components[key]
                # A single component is not interleaved: one block is a unit.
                is_single = len(components) == 1
                blocks += [pair] * (1 if is_single else component.horizontal * component.vertical)
            units = _num_units(width, height, list(components.values()))
            return _holds(encoded[end:], blocks, units, interval or units)
    return False


def _segments(encoded: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Yields the marker, the content and the end of each segment up to the first scan."""
    position = 2
    while True:
        if encoded[position] != 0xFF:
            raise ValueError("not a marker")
        while encoded[position] == 0xFF:  # Any number of fill bytes may precede a marker.
            position += 1
        marker = encoded[position]
        if 0xC2 <= marker <= 0xCF and marker not in (_HUFFMAN, 0xC8, 0xCC):
            raise ValueError("not a sequential JPEG with Huffman codes")
        (length,) = struct.unpack_from(">H", encoded, position + 1)
        end = position + 1 + length
        if end > len(encoded):
            raise ValueError("ends within a header")
        yield marker, encoded[position + 3 : end], end
        position = end


def _tables(data: bytes) -> dict[int, _Table]:
    """The Huffman tables of a segment, by class and destination (annex C)."""
    tables = {}
    while data:
        counts, symbols = data[1:17], iter(data[17:])
        if sum(counts) > len(data) - 17:
            raise ValueError("ends within a table")
        table: _Table = []
        for length, count in enumerate(counts, start=1):
            for _ in range(count):
                symbol = next(symbols)
                meaning = _meaning(length, symbol, is_dc=data[0] < 16)
                table += [meaning] * (1 << 16 - length)
        if len(table) > 1 << 16:
            raise ValueError("too many codes")
        tables[data[0]] = table + [_NO_CODE] * ((1 << 16) - len(table))
        data = data[17 + sum(counts) :]
    return tables


def _meaning(length: int, symbol: int, *, is_dc: bool) -> tuple[int, int]:
    """The entry of a table for a code of `length` bits."""
    if is_dc:
        return length + symbol, 1
    # A run of zeros, and the number of bits of the coefficient after it.
    run, size = symbol >> 4, symbol & 15
    if size == 0 and run < 15:
        return length, 0
    return length + size, run + 1


def _num_units(width: int, height: int, components: list[_Component]) -> int:
    """The number of minimum coded units of an image (A.2)."""
    is_single = len(components) == 1
    horizontal = 1 if is_single else max(component.horizontal for component in components)
    vertical = 1 if is_single else max(component.vertical for component in components)
    return ceil_div(width, 8 * horizontal) * ceil_div(height, 8 * vertical)


def _holds(scan: bytes, blocks: list[tuple[_Table, _Table]], units: int, interval: int) -> bool:
    """Whether the data of a scan holds the codes of all units.

    Args:
      scan: the data, which may end too early.
      blocks: the DC and the AC table of each block of a unit.
      units: number of units of the image.
      interval: number of units between two restart markers.
    """
    if _OTHER_MARKER.search(scan) or not units:
        return False
    # Each interval begins at a byte of its own, after a marker that counts modulo 8.
    first, *parts = _RESTART.split(scan)
    intervals = [first, *parts[1::2]]
    markers = [marker[0] - 0xD0 for marker in parts[::2]]
    if markers != [number % 8 for number in range(len(markers))]:
        return False
    if len(intervals) != ceil_div(units, interval):
        return False
    return all(
        _holds_units(part, blocks, min(interval, units - number * interval))
        for number, part in enumerate(intervals)
    )


def _holds_units(part: bytes, blocks: list[tuple[_Table, _Table]], units: int) -> bool:
    """Whether the data of a restart interval holds the codes of `units` units."""
    # A final FF may be half of a marker, so it does not count as data.
    data = part.removesuffix(b"\xff").replace(b"\xff\0", b"\xff")
    num_bits = 8 * len(data)
    bit = 0

    def next_bits() -> int:
        """The next 16 bits; zeros after the end."""
        at = bit >> 3
        window = int.from_bytes(data[at : at + 3].ljust(3, b"\0"))
        return window >> 8 - (bit & 7) & 0xFFFF

    for _ in range(units):
        for dc_table, ac_table in blocks:
            bit += dc_table[next_bits()][0]
            coefficient = 1
            while coefficient < _COEFFICIENTS:
                length, step = ac_table[next_bits()]
                bit += length
                if bit > num_bits:
                    return False
                if step == 0:
                    break
                coefficient += step
            if coefficient > _COEFFICIENTS or bit > num_bits:
                return False
    return True
