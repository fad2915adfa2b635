import dataclasses
import json
import os
from typing import Any

import pytest
from etils import epath

from components.base import json_types
from components.base.errors import WorkError


@dataclasses.dataclass(frozen=True)
class Wheel:
    size: int
    name: str = "plain"


@dataclasses.dataclass(frozen=True)
class Cart:
    wheels: list[Wheel]
    load: dict[str, float]
    place: tuple[int, int]
    is_full: bool
    owner: str | None
    extra: Any = None


CART = {
    "wheels": [{"size": 3}, {"size": 4, "name": "big"}],
    "load": {"hay": 1.5, "corn": 2},
    "place": [1, 2],
    "is_full": True,
    "owner": None,
}


def test_a_value_becomes_the_types_that_describe_it():
    expected = Cart(
        [Wheel(3), Wheel(4, "big")], {"hay": 1.5, "corn": 2}, (1, 2), is_full=True, owner=None
    )
    assert json_types.parse(Cart, CART) == expected
    assert json_types.parse(Cart, {**CART, "owner": "Ann", "extra": [{}]}) == dataclasses.replace(
        expected, owner="Ann", extra=[{}]
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"wheels": {}}, "cart.wheels is an object, not a list"),
        ({"wheels": [{"size": 3}, 7]}, r"cart.wheels\[1\] is 7, not an object"),
        ({"wheels": [{"size": "3"}]}, r"cart.wheels\[0\].size is '3', not a whole number"),
        ({"wheels": [{"size": True}]}, r"cart.wheels\[0\].size is True, not a whole number"),
        ({"wheels": [{"size": 3.0}]}, r"cart.wheels\[0\].size is 3.0, not a whole number"),
        ({"wheels": [{"size": 2**63}]}, "not a number below 2.63"),
        ({"wheels": [{}]}, r"cart.wheels\[0\].size is missing"),
        ({"wheels": [{"size": 3, "sise": 3}]}, r"cart.wheels\[0\].sise is unknown"),
        ({"load": {"hay": "much"}}, "cart.load.hay is 'much', not a number"),
        ({"load": {"hay\n\x1b": None}}, r"cart.load.'hay\\n\\x1b' is None, not a number"),
        ({"load": []}, "cart.load is a list of 0 values, not an object"),
        ({"place": [1]}, "cart.place is a list of 1 values, not a list of 2 values"),
        ({"is_full": 1}, "cart.is_full is 1, not true or false"),
        ({"owner": 3}, "cart.owner is 3, not text"),
        ({"owner": ["x" * 1000]}, "cart.owner is a list of 1 values, not text"),
        ({"is_full": "x" * 1000}, r"cart.is_full is 'x{39}…, not true or false"),
    ],
)
def test_another_value_is_named_with_its_place(change, message):
    with pytest.raises(ValueError, match=rf"^{message}$|{message}$") as caught:
        json_types.parse(Cart, CART | change, where="cart")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("value", [None, 3, "text", []])
def test_the_value_of_a_whole_file_is_called_its_content(value):
    with pytest.raises(ValueError, match=r"^its content is .*, not an object$"):
        json_types.parse(Cart, value)


def nested(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


def test_a_text_is_read_to_a_limited_depth():
    assert json_types.parse_text(nested(3)) == {"a": {"a": {"a": 1}}}
    json_types.parse_text(nested(json_types.MAX_DEPTH))
    for levels in (json_types.MAX_DEPTH + 1, 100_000):
        with pytest.raises(ValueError, match="nested more than 32 levels deep"):
            json_types.parse_text(nested(levels))


@pytest.mark.parametrize("data", [b"", b"{", b"\x00", b"\xff\xfe", b'"\xc3', b"9" * 5000])
def test_what_is_not_json_is_refused(data):
    with pytest.raises(ValueError, match=r"^it is not JSON: ") as caught:
        json_types.parse_text(data)
    assert "\n" not in str(caught.value)


def test_a_file_is_read_up_to_a_size(tmp_path):
    path = epath.Path(tmp_path / "file")
    path.write_text(json.dumps(CART))
    size = path.stat().length
    assert json_types.load(path, max_bytes=size) == CART
    with pytest.raises(ValueError, match=f"larger than {size - 1} bytes"):
        json_types.load(path, max_bytes=size - 1)


def test_a_pipe_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "file")
    with pytest.raises(WorkError, match="is a pipe"):
        json_types.load(epath.Path(tmp_path / "file"), max_bytes=10)
