import itertools
import pickle
import random

import pytest
from tensorflow_datasets.proto import tf_example_pb2

from components.ingest import example_template
from components.ingest.example_template import FeatureExtractor
from components.ingest.rejection import Reason, UnusableError


def entry(name: str, **values: list) -> bytes:
    """A serialized tf.Example with one feature. Protobuf merges concatenated messages."""
    example = tf_example_pb2.Example()
    for kind, value in values.items():
        getattr(example.features.feature[name], kind).value.extend(value)
    return example.SerializeToString()


def record(image: bytes, label: int, **others) -> bytes:
    example = tf_example_pb2.Example()
    feature = example.features.feature
    feature["image"].bytes_list.value.append(image)
    feature["label"].int64_list.value.append(label)
    for name, value in others.items():
        feature[name].bytes_list.value.append(value)
    return example.SerializeToString(deterministic=True)


def example_of(*entries: bytes) -> bytes:
    """A tf.Example with one Features message that has the map entries in the given order."""
    content = b"".join(each[field_start(each) :] for each in entries)
    return b"\x0a" + varint(len(content)) + content


def field_start(serialized: bytes) -> int:
    """The position after the tag and the length of the first field."""
    position = 1
    while serialized[position] >= 128:
        position += 1
    return position + 1


def varint(number: int) -> bytes:
    digits = []
    while number >= 128:
        digits.append(number & 127 | 128)
        number >>= 7
    return bytes([*digits, number])


def by_protobuf(data: bytes) -> tuple[bytes, int]:
    feature = tf_example_pb2.Example.FromString(data).features.feature
    (label,) = feature["label"].int64_list.value
    return feature["image"].bytes_list.value[0], label


def check(records: list[bytes]) -> FeatureExtractor:
    """Compares an extractor with protobuf; in the second pass it has all its templates."""
    extract = FeatureExtractor("image", "label")
    for data in [*records, *records]:
        assert extract(data) == by_protobuf(data)
    return extract


@pytest.fixture
def parses(monkeypatch) -> list[int]:
    """The lengths of the records that protobuf parses."""
    lengths: list[int] = []
    parse = example_template.parse
    monkeypatch.setattr(
        example_template, "parse", lambda data: lengths.append(len(data)) or parse(data)
    )
    return lengths


def test_similar_records_are_parsed_once_per_length(parses):
    rng = random.Random(0)
    records = [
        record(rng.randbytes(size), label) for size in (0, 1, 57, 300) for label in range(128)
    ]
    extract = FeatureExtractor("image", "label")
    assert [extract(data) for data in records] == [by_protobuf(data) for data in records]
    assert len(parses) == 4


def test_a_label_of_two_bytes_is_parsed_by_protobuf():
    # The image is a byte shorter where the label takes two bytes: all records have one length.
    records = [record(b"\x07" * (9 - (label > 127)), label) for label in range(256)]
    check(records)
    check(records[::-1])


def test_without_a_label_key_the_label_is_one_of_the_fixed_bytes():
    extract = FeatureExtractor("image", None)
    for label in (1, 1, 2, 2, 300):
        assert extract(record(b"abc", label)) == (b"abc", None)


def test_images_that_look_like_parts_of_a_record():
    label = entry("label", int64_list=[3])
    valid = record(label, 5)
    images = [label, label[2:], valid, b"label" * 9, b"\x1a\x03\x0a\x01\x05" * 9, valid + valid]
    check([record(image, label) for image in images for label in (0, 1, 3, 5, 10, 127)])


def test_features_with_equal_content():
    check([record(image, 4, copy=b"ab") for image in (b"ab", b"cd", b"ab")])
    check([record(b"ab", 4, copy=copy, other=b"ab") for copy in (b"ab", b"cd", b"ab")])
    numbers = [
        example_of(
            entry("a", int64_list=[first]),
            entry("image", bytes_list=[b"x"]),
            entry("label", int64_list=[label]),
            entry("z", int64_list=[last]),
        )
        for first, label, last in itertools.product((1, 10, 26), repeat=3)
    ]
    check(numbers)


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_the_last_feature_of_a_repeated_name_counts(order):
    def of(image: bytes, other: bytes, label: int, another: int) -> bytes:
        entries = [
            entry("image", bytes_list=[image]),
            entry("image", bytes_list=[other]),
            entry("label", int64_list=[label]),
            entry("label", int64_list=[another]),
        ]
        return example_of(*(entries[index] for index in order))

    check(
        [of(a, b, c, d) for a in (b"p", b"q") for b in (b"p", b"r") for c in (1, 2) for d in (1, 3)]
    )


def test_features_in_any_order_with_other_features_of_any_value():
    rng = random.Random(1)
    records = []
    for _ in range(400):
        entries = [
            entry("image", bytes_list=[rng.randbytes(4)]),
            entry("label", int64_list=[rng.choice([0, 1, 9, 127])]),
            entry("name", bytes_list=[rng.choice([b"label", b"image", b"\x0a\x01\x05ab"[:5]])]),
            entry("size", float_list=[rng.random()]),
        ]
        rng.shuffle(entries)
        records.append(example_of(*entries))
    check(records)


@pytest.mark.parametrize(
    "unusual",
    [
        lambda image, label: label + entry("image", bytes_list=[image]),
        # Two Features messages, which protobuf merges.
        lambda image, label: (
            entry("image", bytes_list=[image]) + entry("other", bytes_list=[image]) + label
        ),
        # An unknown field, length-delimited and not.
        lambda image, label: (
            example_of(entry("image", bytes_list=[image]), label) + b"\x22\x01\x05"
        ),
        lambda image, label: b"\x28\x05" + example_of(entry("image", bytes_list=[image]), label),
        # A length with more bytes than necessary.
        lambda image, label: long_length(example_of(entry("image", bytes_list=[image]), label)),
        # An entry with its value before its name.
        lambda image, label: example_of(value_first(entry("image", bytes_list=[image])), label),
        # An entry with two names.
        lambda image, label: example_of(renamed(entry("label", bytes_list=[image])), label),
        # A label that is not packed.
        lambda image, label: example_of(
            entry("image", bytes_list=[image]),
            b"\x0a\x0f\x0a\x0d\x0a\x05label\x12\x04\x1a\x02\x08" + label[-1:],
        ),
    ],
)
def test_unusual_encodings(unusual):
    images, labels = (b"abc", b"abd", b"\x05\x05\x05"), (0, 5, 9)
    check(
        [unusual(image, entry("label", int64_list=[label])) for image in images for label in labels]
    )


def long_length(data: bytes) -> bytes:
    return data[:1] + bytes([data[1] | 128, 0]) + data[2:]


def value_first(serialized: bytes) -> bytes:
    """The only map entry of a tf.Example with its value before its key."""
    content = serialized[4:]
    end = 2 + content[1]
    return serialized[:4] + content[end:] + content[:end]


def renamed(serialized: bytes) -> bytes:
    """The only map entry of a tf.Example with a second key, `image`, after its first."""
    content = serialized[4:]
    end = 2 + content[1]
    content = content[:end] + b"\x0a\x05image" + content[end:]
    content = b"\x0a" + bytes([len(content)]) + content
    return b"\x0a" + bytes([len(content)]) + content


def test_a_record_with_any_flipped_bit_reads_as_by_protobuf():
    valid = record(b"abcdefgh", 5, id=b"train-1")
    extract = FeatureExtractor("image", "label")
    extract(valid)
    for bit in range(8 * len(valid)):
        damaged = bytearray(valid)
        damaged[bit // 8] ^= 1 << bit % 8
        data = bytes(damaged)
        try:
            expected = FeatureExtractor("image", "label")._parse(data)
        except UnusableError as error:
            with pytest.raises(UnusableError, match=f"^{error}$".replace("[", r"\[")):
                extract(data)
        else:
            assert extract(data) == expected


def test_the_number_of_templates_is_bounded(monkeypatch, parses):
    monkeypatch.setattr(example_template, "_MAX_TEMPLATES", 2)
    extract = FeatureExtractor("image", "label")
    records = [record(bytes(size), 1) for size in range(5)]
    for data in [*records, *records]:
        assert extract(data) == by_protobuf(data)
    assert len(parses) == 5 + 3


@pytest.mark.parametrize(
    ("data", "reason", "detail"),
    [
        (b"\xff", Reason.UNDECODABLE, "not a tf.Example"),
        (b"", Reason.UNDECODABLE, "no image"),
        (entry("image", int64_list=[3]), Reason.UNDECODABLE, "no image"),
        (entry("image", bytes_list=[b"a"]), Reason.BAD_LABEL, "label [] is not one number"),
        (
            entry("image", bytes_list=[b"a", b"second"]) + entry("label", int64_list=[1]),
            Reason.WRONG_TYPE,
            "2 images in one record; write one record per image",
        ),
        (
            entry("image", bytes_list=[b"a"]) + entry("label", int64_list=[1, 2]),
            Reason.BAD_LABEL,
            "label [1, 2] is not one number",
        ),
    ],
)
def test_an_unusable_record_gives_the_reason(data, reason, detail):
    with pytest.raises(UnusableError) as caught:
        FeatureExtractor("image", "label")(data)
    assert (caught.value.reason, str(caught.value)) == (reason, detail)


def test_a_second_image_is_noticed_in_a_record_as_long_as_a_template():
    label = entry("label", int64_list=[1])
    one, two = entry("image", bytes_list=[b"abcd"]), entry("image", bytes_list=[b"a", b"b"])
    # Its bytes look like a second value.
    other = entry("image", bytes_list=[b"x\x0a\x01y"])
    assert len(one) == len(two) == len(other)
    for first, second in itertools.permutations([one, two, other], 2):
        extract = FeatureExtractor("image", "label")
        for data in (first + label, second + label, first + label, second + label):
            if data == two + label:
                with pytest.raises(UnusableError, match="2 images in one record"):
                    extract(data)
            else:
                assert extract(data) == by_protobuf(data)


def test_templates_are_pickled_with_the_extractor(parses):
    extract = FeatureExtractor("image", "label")
    extract(record(b"abc", 5))
    copy = pickle.loads(pickle.dumps(extract))
    assert copy(record(b"xyz", 7)) == (b"xyz", 7)
    assert len(parses) == 1


def test_several_images_in_one_record_are_refused():
    record = example_of(entry("image", bytes_list=[b"abc", b"second"]))
    with pytest.raises(UnusableError, match="2 images in one record"):
        FeatureExtractor("image", None)(record)
