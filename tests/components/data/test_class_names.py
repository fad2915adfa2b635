import pytest
from PIL import ImageFont

from components.data.class_names import alike, display_order, displayed, font_file


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["1", "10", "2"], [0, 2, 1]),
        (["c1", "c10", "c10b", "c2"], [0, 3, 1, 2]),
        (["01", "1", "a", "é"], [0, 1, 2, 3]),
        (["b", "a10", "a2"], [0, 1, 2]),  # The dataset's own order.
        ([], []),
    ],
)
def test_alphabetical_names_are_shown_in_natural_order(names, order):
    assert display_order(names) == order


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("T-shirt/top", "T-shirt/top"),
        ("Straße, λόγος, кот", "Straße, λόγος, кот"),
        ("cafe\u0301", "caf\u00e9"),
        ("a\nb", "a b"),
        ("caf\udce9", "caf?"),
        ("猫", "class 0"),
        ("강아지", "class 0"),
        ("🦊", "class 0"),
        ("🐱", "🐱"),
        ("a\x07", "class 0"),
        ("", "class 0"),
        (" \n", "class 0"),
        ("x" * 32, "x" * 32),
        ("a" * 50 + "b" * 50, "a" * 15 + "…" + "b" * 16),
    ],
)
def test_a_name_is_shown_in_letters_of_the_font(name, text):
    texts, note = displayed([name])
    assert texts == [text]
    assert bool(note) == (text == "class 0")


def test_one_note_tells_of_all_names_that_were_replaced():
    texts, note = displayed(["猫", "dog", "鸟"])
    assert texts == ["class 0", "dog", "class 2"]
    assert note == "2 class names are shown as numbers: the font lacks letters"
    assert displayed(["猫"])[1].startswith("1 class name is ")


def test_names_that_differ_only_in_their_unicode_form_are_alike():
    composed, decomposed, wide, narrow = "caf\u00e9", "cafe\u0301", "\uff21\uff11", "A1"
    names = ["cafe", composed, wide, "a1", decomposed, narrow]
    assert alike(names) == [[composed, decomposed], [wide, narrow]]
    assert alike(["cafe", composed, "a1", narrow]) == []


@pytest.mark.parametrize("style", ["", "-Bold"])
def test_the_font_exists(style):
    assert ImageFont.truetype(font_file(style), 10).getname()[0] == "DejaVu Sans"
