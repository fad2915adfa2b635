import itertools
import os
import re
import urllib.parse

import pytest

from components.sources.escaping import escape, to_dataset_name

TEXTS = ["%", "%25", "2", "5", "\n", "\r", "\x00", "\x1b", "\x7f", "\x85", "\u2028", "\u2029"]
TEXTS += [" ", "\xa0", "\t", "é", "e\u0301", "日本", "😀", "..", "/", "a"]
BYTES = [b"\xff", b"\x80", b"\xc3", b"\xa9", b"\xed\xa0\x80", "é".encode()]


def unusual_names() -> list[str]:
    """File names as Python returns them, decoded by `os.fsdecode`."""
    parts = [part.encode() for part in TEXTS] + BYTES
    sequences = itertools.chain.from_iterable(
        itertools.product(parts, repeat=length) for length in (1, 2, 3)
    )
    return sorted({os.fsdecode(b"".join(sequence)) for sequence in sequences})


def test_escaping_can_be_undone():
    names = unusual_names()
    escaped = [escape(name) for name in names]
    assert len(set(escaped)) == len(names) > 10_000
    for name, text in zip(names, escaped, strict=True):
        assert urllib.parse.unquote_to_bytes(text) == os.fsencode(name)


def test_an_escaped_name_is_one_line_of_utf8_without_outer_white_space():
    for text in map(escape, unusual_names()):
        assert text.encode().decode() == text
        assert text.splitlines() == [text]
        assert text.strip() == text
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", text)


@pytest.mark.parametrize(
    ("name", "escaped"),
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
def test_only_what_cannot_be_printed_is_escaped(name, escaped):
    assert escape(name) == escaped


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
def test_a_dataset_name_is_made_from_the_name_of_a_folder(text, name):
    assert to_dataset_name(text) == name


def test_a_dataset_name_is_valid_in_tfds_and_short_enough_for_shards():
    from tensorflow_datasets.core import naming

    for text in [*unusual_names()[::50], "x" * 255, "1" * 255, "a-" * 120]:
        name = to_dataset_name(text)
        assert naming.is_valid_dataset_name(name)
        assert len(f"{name}-validation.tfrecord-00000-of-00001") < 200
        assert to_dataset_name(name) == name
