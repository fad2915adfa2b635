import pytest

from components.base.errors import ConfigError
from pipeline.compare.runs import load, short_names


def test_runs_are_named_by_the_last_part_of_their_paths_if_it_is_unique():
    assert short_names(["runs/a", "runs/b/"]) == ["a", "b"]
    assert short_names(["one/run", "two/run", "c"]) == ["one/run", "two/run", "c"]
    assert short_names(["runs/\x1b[31m", "b"]) == [r"\x1b[31m", "b"]


@pytest.mark.parametrize("directories", [[], ["a"]])
def test_one_run_is_nothing_to_compare(directories):
    with pytest.raises(ConfigError, match="compare takes two runs or more"):
        load(directories)


def test_a_run_is_compared_once():
    with pytest.raises(ConfigError, match="a is given twice"):
        short_names(["a", "b", "a/"])


def test_a_directory_without_a_model_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"model is not a finished artifact .* train stage first"):
        load([str(tmp_path / "a"), str(tmp_path / "b")])
