import hashlib

import pytest
from etils import epath

from components import files
from components.errors import WorkError


@pytest.fixture
def folder(tmp_path) -> epath.Path:
    (tmp_path / "b/c").mkdir(parents=True)
    for name in ("b/c/deep", "b/near", "a"):
        (tmp_path / name).write_text(name)
    return epath.Path(tmp_path)


def test_all_files_below_in_order(folder):
    names = [path.relative_to(folder).as_posix() for path in files.files_below(folder)]
    assert names == ["a", "b/c/deep", "b/near"]


def test_a_digest_is_that_of_the_bytes(folder):
    expected = hashlib.sha256(b"a").hexdigest()
    assert files.sha256(folder / "a") == files.sha256(folder / "a", sync=True) == expected


def test_a_folder_is_held_by_one_at_a_time(folder):
    with files.locked(folder / "new"):
        assert (folder / "new").is_dir()
        with pytest.raises(WorkError, match="another process"), files.locked(folder / "new"):
            pass
    with files.locked(folder / "new"):
        pass


def test_a_folder_that_was_renamed_while_it_was_opened_is_not_held(folder, monkeypatch):
    def rename_first(descriptor, operation):
        (folder / "new").rename(folder / "published")

    monkeypatch.setattr(files.fcntl, "flock", rename_first)
    with pytest.raises(WorkError, match="another process"), files.locked(folder / "new"):
        pass


def test_paths_are_told_relative_to_a_folder_but_for_other_schemes(folder):
    assert files.relative(folder / "b/near", folder / "b/c") == "../near"
    assert files.relative(epath.Path("gs://bucket/x"), folder) == "gs://bucket/x"
