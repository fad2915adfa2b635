import os

import pytest
from etils import epath

from components.base import json_lines
from components.base.errors import WorkError


def test_values_are_read_back_as_they_were_written(tmp_path):
    values = [{"b": 1, "a": "ä\n\u2028\r"}, [], None, "日本"]
    json_lines.write(tmp_path / "lines", iter(values))
    assert list(json_lines.read(tmp_path / "lines")) == values


def test_the_file_has_one_line_of_utf8_per_value(tmp_path):
    json_lines.write(tmp_path / "lines", ["a\nb", "日本"])
    assert (tmp_path / "lines").read_bytes() == '"a\\nb"\n"日本"\n'.encode()


def test_without_values_the_file_is_empty(tmp_path):
    json_lines.write(tmp_path / "lines", [1])
    json_lines.write(tmp_path / "lines", [])
    assert (tmp_path / "lines").read_bytes() == b""
    assert list(json_lines.read(tmp_path / "lines")) == []


def test_a_durable_file_has_the_same_bytes(tmp_path):
    for durable in (False, True):
        json_lines.write(tmp_path / f"{durable}", [1, "ä"], durable=durable)
    assert (tmp_path / "True").read_bytes() == (tmp_path / "False").read_bytes()


def test_a_line_that_is_not_json_is_an_error_after_the_lines_before_it(tmp_path):
    (tmp_path / "lines").write_bytes(b'1\n{"a":\n')
    values = json_lines.read(tmp_path / "lines")
    assert next(values) == 1
    with pytest.raises(ValueError, match="Expecting value"):
        next(values)


def test_a_failure_leaves_the_old_file(tmp_path):
    def fail():
        yield 1
        raise ZeroDivisionError

    json_lines.write(tmp_path / "lines", ["old"])
    with pytest.raises(ZeroDivisionError):
        json_lines.write(tmp_path / "lines", fail())
    assert list(json_lines.read(tmp_path / "lines")) == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["lines"]


def test_a_line_that_is_nested_too_deeply_is_refused(tmp_path):
    path = epath.Path(tmp_path / "file")
    path.write_text("[1]\n" + "[" * 100_000 + "]" * 100_000 + "\n")
    values = json_lines.read(path)
    assert next(values) == [1]
    with pytest.raises(ValueError, match="nested more than 32 levels deep"):
        next(values)


def test_a_pipe_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "file")
    with pytest.raises(WorkError, match="is a pipe"):
        next(json_lines.read(epath.Path(tmp_path / "file")))


@pytest.mark.parametrize("max_merged", [1000, 7, 2])
def test_sorted_files_are_merged_in_order(max_merged, tmp_path, monkeypatch):
    monkeypatch.setattr(json_lines, "_MAX_MERGED", max_merged)
    paths = [epath.Path(tmp_path / f"{number}") for number in range(20)]
    values = [{"n": (7 * n) % 101, "text": "ä"} for n in range(100)]
    for number, path in enumerate(paths):
        json_lines.write(path, sorted(values[number::20], key=lambda value: value["n"]))
    merged = json_lines.merged(paths, lambda value: value["n"], epath.Path(tmp_path / "scratch"))
    assert list(merged) == sorted(values, key=lambda value: value["n"])
    assert list(json_lines.merged([], lambda value: value, epath.Path(tmp_path))) == []
