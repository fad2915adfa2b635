import os

import pytest
from etils import epath

from components.base.errors import ConfigError, WorkError
from components.sources.tfrecord_files import list_tfrecords, root_of


def write(root, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"abc")


@pytest.mark.parametrize(
    ("pattern", "root"),
    [("x", "x"), ("x/a.tfrecord", "x"), ("x/*", "x"), ("*/y/?.tfrecord", ""), ("[1]/*", "[1]")],
)
def test_the_root_is_the_folder_before_the_wildcards(tmp_path, pattern, root):
    write(tmp_path, "x/a.tfrecord", "[1]/a")
    assert root_of(str(tmp_path / pattern)) == epath.Path(tmp_path / root)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("x", ["a.tfrec", "b.tfrecord.gz"]),
        ("x/a.tfrec", ["a.tfrec"]),
        ("x/*", ["a.tfrec", "b.tfrecord.gz", "c.txt"]),
        ("[1]/*/*", ["y/d"]),
    ],
)
def test_the_files_of_a_pattern_are_listed(tmp_path, pattern, names):
    write(tmp_path, "x/b.tfrecord.gz", "x/a.tfrec", "x/c.txt", "x/.tfrec", "x/y.tfrec/z", "[1]/y/d")
    os.utime(tmp_path / "x/a.tfrec", (0, 1_500_000_000))
    found = list_tfrecords(str(tmp_path / pattern))
    assert [name for name, _, _ in found] == names
    assert {size for _, size, _ in found} == {3}
    assert found[0][2] == 1_500_000_000 or names[0] != "a.tfrec"


def test_a_pattern_without_files_and_a_broken_link_are_one_line(tmp_path):
    with pytest.raises(ConfigError, match="no TFRecord file matches"):
        list_tfrecords(str(tmp_path / "*"))
    (tmp_path / "a\n.tfrecord").symlink_to("gone")
    with pytest.raises(WorkError, match=r"cannot read \S*a%0A.tfrecord: No such file") as caught:
        list_tfrecords(str(tmp_path))
    assert "\n" not in str(caught.value)
