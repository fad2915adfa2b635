import os
import socket

import pytest
from etils import epath

from components.base.errors import ConfigError
from components.sources.regular_files import check_regular


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_what_is_no_regular_file_is_refused_in_one_line(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)  # The path of a socket must be short.
    path = "odd\n\x1b[31m"
    with socket.socket(socket.AF_UNIX) as listener:
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "socket":
            listener.bind(path)
        else:
            os.symlink("/dev/zero", path)
        with pytest.raises(ConfigError, match=rf"odd%0A%1B.* is a {kind}, not a regular file"):
            check_regular(epath.Path(path))


def test_regular_files_and_paths_that_lead_nowhere_pass(tmp_path):
    (tmp_path / "file").touch()
    os.symlink("file", tmp_path / "link")
    for name in ("file", "link", "nowhere"):
        check_regular(epath.Path(tmp_path / name))
    check_regular(epath.Path("gs://bucket/file"))
