import pytest

from components.base import errors


def test_similar_names_are_suggested():
    assert errors.nearest("latens", ["latents", "epochs", "beta"]) == "nearest: latents"


def test_valid_names_are_listed_if_none_is_similar():
    assert errors.nearest("zzz", ["b", "a"]) == "valid: a, b"
    assert errors.nearest("zzz", map(str, range(100, 120))).endswith("111, …")


def test_an_error_is_put_on_one_line_and_shortened():
    assert errors.one_line(ValueError("two\n  lines\t")) == "two lines"
    assert errors.one_line("abc def", length=7) == "abc def"
    assert errors.one_line("abc  defg", length=7) == "abc def…"


@pytest.mark.parametrize(
    ("kind", "code"), [(errors.WorkError, 1), (errors.ConfigError, 2), (errors.Stopped, 75)]
)
def test_exit_codes(kind, code):
    assert kind("reason").exit_code == code
    assert isinstance(kind("reason"), errors.UserError)
