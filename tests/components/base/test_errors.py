import pytest

from components.base import errors


def test_near_names_are_named_first():
    assert errors.nearest("latens", ["latents", "epochs", "beta"]) == "nearest: latents"


def test_where_none_is_near_the_valid_ones_are_named():
    assert errors.nearest("zzz", ["b", "a"]) == "valid: a, b"
    assert errors.nearest("zzz", map(str, range(100, 120))).endswith("111, …")


@pytest.mark.parametrize(
    ("kind", "code"), [(errors.WorkError, 1), (errors.ConfigError, 2), (errors.Stopped, 75)]
)
def test_exit_codes(kind, code):
    assert kind("why").exit_code == code
    assert isinstance(kind("why"), errors.UserError)
