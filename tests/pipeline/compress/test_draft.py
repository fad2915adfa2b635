import pytest
from etils import epath

from components.base.errors import ConfigError, WorkError
from pipeline.compress import draft


def test_blocks_are_kept_until_the_work_is_done(tmp_path):
    output = epath.Path(tmp_path / "x.vaez")
    with (
        pytest.raises(RuntimeError),
        draft.open_draft(output, {"a": 1}, overwrite=False) as directory,
    ):
        (directory / "block").write_text("done")
        raise RuntimeError
    with draft.open_draft(output, {"a": 1}, overwrite=False) as directory:
        assert (directory / "block").read_text() == "done"
    assert not directory.exists()


def test_blocks_of_other_work_are_only_discarded_if_asked(tmp_path):
    output = epath.Path(tmp_path / "x.vaez")
    with (
        pytest.raises(RuntimeError),
        draft.open_draft(output, {"a": 1}, overwrite=False) as directory,
    ):
        (directory / "block").write_text("done")
        raise RuntimeError
    with (
        pytest.raises(ConfigError, match="unfinished work on another input"),
        draft.open_draft(output, {"a": 2}, overwrite=False),
    ):
        pass
    with draft.open_draft(output, {"a": 2}, overwrite=True) as directory:
        assert not (directory / "block").exists()


def test_what_is_no_draft_is_not_touched(tmp_path):
    (tmp_path / "x.vaez.draft").mkdir()
    (tmp_path / "x.vaez.draft/mine").write_text("")
    output = epath.Path(tmp_path / "x.vaez")
    with (
        pytest.raises(ConfigError, match="is in the way"),
        draft.open_draft(output, {}, overwrite=True),
    ):
        pass


def test_two_processes_do_not_write_one_file(tmp_path):
    output = epath.Path(tmp_path / "x.vaez")
    with (
        draft.open_draft(output, {}, overwrite=False),
        pytest.raises(WorkError, match="another process"),
        draft.open_draft(output, {}, overwrite=False),
    ):
        pass
