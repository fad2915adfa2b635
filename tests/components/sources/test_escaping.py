import itertools
import os
import re
import urllib.parse

import pytest

from components.sources.escaping import dataset_name, printable

NASTY = ["%", "%25", "2", "5", "\n", "\r", "\x00", "\x1b", "\x7f", "\x85", "\u2028", "\u2029"]
NASTY += [" ", "\xa0", "\t", "é", "e\u0301", "日本", "😀", "..", "/", "a"]
BYTES = [b"\xff", b"\x80", b"\xc3", b"\xa9", b"\xed\xa0\x80", "é".encode()]


def nasty_names() -> list[str]:
    """As a file system gives them: os.fsdecode of the bytes of a name."""
    parts = [part.encode() for part in NASTY] + BYTES
    runs = itertools.chain.from_iterable(itertools.product(parts, repeat=n) for n in (1, 2, 3))
    return sorted({os.fsdecode(b"".join(run)) for run in runs})


def test_different_names_stay_different_and_lead_back_to_the_bytes():
    names = nasty_names()
    shown = [printable(name) for name in names]
    assert len(set(shown)) == len(names) > 10_000
    for name, text in zip(names, shown, strict=True):
        assert urllib.parse.unquote_to_bytes(text) == os.fsencode(name)


def test_what_is_shown_is_one_line_of_utf8_with_nothing_to_strip():
    for text in map(printable, nasty_names()):
        assert text.encode().decode() == text
        assert text.splitlines() == [text]
        assert text.strip() == text
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", text)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("cat/1.png", "cat/1.png"),
        ("Käse 日本.png", "Käse 日本.png"),
        ("100%.png", "100%25.png"),
        ("a\nb", "a%0Ab"),
        ("a\u2028b", "a%E2%80%A8b"),
        ("\x85", "%C2%85"),
        ("a\udcffb", "a%FFb"),
        ("\ud800", "%ED%A0%80"),
        ("  a b ", "%20%20a b%20"),
    ],
)
def test_names_are_escaped_only_where_they_must_be(name, shown):
    assert printable(name) == shown


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("cats", "cats"),
        ("My-Cats & Dogs (v2)", "my_cats_dogs_v2"),
        ("__a__b__", "a_b"),
        ("2024", "images_2024"),
        ("_7", "images_7"),
        ("Käse", "k_se"),
        ("日本", "images"),
        ("\udcff", "images"),
        ("", "images"),
    ],
)
def test_a_dataset_is_named_after_the_folder(text, name):
    assert dataset_name(text) == name


def test_a_dataset_has_a_name_that_tfds_takes_and_that_leaves_room_for_the_shard():
    from tensorflow_datasets.core import naming

    for text in [*nasty_names()[::50], "x" * 255, "1" * 255, "a-" * 120]:
        name = dataset_name(text)
        assert naming.is_valid_dataset_name(name)
        assert len(f"{name}-validation.tfrecord-00000-of-00001") < 200
        assert dataset_name(name) == name
