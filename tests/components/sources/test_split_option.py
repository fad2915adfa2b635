import pytest

from components.base.errors import ConfigError
from components.sources.split_option import format_splits, parse_splits


@pytest.mark.parametrize(
    ("text", "formatted"),
    [
        ("", ""),
        ("test=b,train=a", "train=a,test=b"),
        ("train=./a//b/, val=c,d", "train=a/b,validation=c,d"),
        ("train=.", "train=."),
        ("train=b,train=a", "train=a,train=b"),
        ("train=a=b", "train=a=b"),
    ],
)
def test_splits_are_parsed_into_one_form(text, formatted):
    roots = parse_splits(text)
    assert format_splits(roots) == formatted
    assert parse_splits(formatted) == roots


@pytest.mark.parametrize(
    "text", ["a", "train", "train=", "train=/a", "train=../a", "other=a", "train=a,b=c", "=a"]
)
def test_splits_of_another_form_are_an_error(text):
    with pytest.raises(ConfigError, match="--splits must be train=DIR") as caught:
        parse_splits(text)
    assert repr(text) in str(caught.value)


def test_a_folder_belongs_to_one_split():
    with pytest.raises(ConfigError, match="names the folder 'a/' twice"):
        parse_splits("train=a,test=a/")
