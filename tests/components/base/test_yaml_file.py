import os
import random

import pytest

from components.base.errors import ConfigError
from components.base.yaml_file import MAX_BYTES, parse_fields, read_fields

# Nine levels of ten aliases each: 10^9 values if they were expanded.
BOMB = "\n".join(
    [
        "a: &a x",
        *(
            f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]"
            for a, b in zip("abcdefgh", "bcdefghi", strict=True)
        ),
    ]
)


def parse(text: str | bytes):
    return parse_fields(text if isinstance(text, bytes) else text.encode(), where="my.yaml")


def test_values_are_text_and_lists_of_text():
    text = "# A comment.\nlatents: 5\nwidths: [64, 32]\n'network': \"mlp\"\nschedule:\n- a\n- b\n"
    expected = {"latents": "5", "widths": ["64", "32"], "network": "mlp", "schedule": ["a", "b"]}
    assert parse(text) == expected
    assert parse("empty:\nyes: 2001-99-99\n<<: 1") == {"empty": "", "yes": "2001-99-99", "<<": "1"}


def test_a_tag_runs_nothing_and_converts_nothing():
    assert parse("a: !!python/object/apply:os.system x\nb: !!int ''") == {
        "a": "x",
        "b": "",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must consist of `field: value` lines"),
        ("- 5", "must consist of `field: value` lines"),
        ("text", "must consist of `field: value` lines"),
        ("a: {b: 1}", "must consist of .*; see 'a' in line 1"),
        ("x: 1\na: [[1], 2]", "must consist of .*; see 'a' in line 2"),
        ("? [a]\n: 1", "must consist of .*; see 'a list or a mapping' in line 1"),
        ("a: 1\nb: 2\na: 3", "sets 'a' twice, the second time in line 3"),
        ("a: b: c", "is not valid YAML: mapping values are not allowed"),
        ("a: &x 1\nb: *x", r"is not valid YAML: the alias \*x: write the value itself in line 2$"),
        ("a: &a [*a]", r"is not valid YAML: the alias \*a"),
        (BOMB, r"is not valid YAML: the alias \*a"),
        ("a: 1\n--- \nb: 2", "is not valid YAML: expected a single document"),
        ("[" * 20_000, "is nested too deeply"),
        ("a: " + "{b: " * 10_000, "is nested too deeply"),
        (b"a: \xff\xfe", "is not valid YAML"),
        (b"\0" * 100, "is not valid YAML"),
        ("'" + "x\n" * 1000, "is not valid YAML"),
    ],
)
def test_what_is_no_field_is_one_line_that_names_the_file(text, message):
    with pytest.raises(ConfigError, match=message) as error:
        parse(text)
    assert str(error.value).startswith("my.yaml ")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_damage_gives_fields_or_one_line():
    rng = random.Random(0)
    intact = b"latents: 5\nwidths: [64, 32]\nschedule: 'cosine' # falls\n"
    read, messages = [], []
    for _ in range(500):
        data = bytearray(intact[: rng.randrange(len(intact) + 1)] if rng.random() < 0.3 else intact)
        for _ in range(rng.randint(1, 4) if data else 0):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        try:
            read.append(parse(bytes(data)))
        except ConfigError as error:
            messages.append(str(error))
    assert read
    assert messages
    assert not any("\n" in message for message in messages)
    assert all(isinstance(value, str | list) for fields in read for value in fields.values())


def test_a_file_is_read_up_to_a_limit(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text("a: 1\n#".ljust(MAX_BYTES, "#"))
    assert read_fields(str(file)) == {"a": "1"}
    file.write_text("a: 1\n#".ljust(MAX_BYTES + 1, "#"))
    with pytest.raises(ConfigError, match=r"my\.yaml has more than 65,536 bytes"):
        read_fields(str(file))


@pytest.mark.parametrize("file", ["/dev/zero", "/proc/kmsg"])
def test_a_link_to_what_never_ends_is_not_opened(tmp_path, file):
    link = tmp_path / "config.yaml"
    link.symlink_to(file)
    with pytest.raises(ConfigError, match=r"config\.yaml is a .*, and is not opened"):
        read_fields(str(link))


def test_a_pipe_is_read():
    reader, writer = os.pipe()
    os.write(writer, b"epochs: 3")
    os.close(writer)
    assert read_fields(f"/dev/fd/{reader}") == {"epochs": "3"}
    os.close(reader)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"config file .*none\.yaml: No such file"):
        read_fields(str(tmp_path / "none.yaml"))
