import itertools
import pickle
import random

import pytest
from tensorflow_datasets.proto import tf_example_pb2

from components.ingest import example_template
from components.ingest.example_template import FeatureExtractor
from components.ingest.ledger import Reason, UnusableError


def entry(name: str, **values: list) -> bytes:
    """A serialized tf.Example with one feature; protobuf merges what is put together."""
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


def in_order(*entries: bytes) -> bytes:
    """One Features message whose map entries stand as they are given."""
    inside = b"".join(each[field_start(each) :] for each in entries)
    return b"\x0a" + varint(len(inside)) + inside


def field_start(serialized: bytes) -> int:
    place = 1
    while serialized[place] >= 128:
        place += 1
    return place + 1


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
    """Holds a cutter against protobuf, whatever it has learned before."""
    cut = FeatureExtractor("image", "label")
    for data in [*records, *records]:
        assert cut(data) == by_protobuf(data)
    return cut


@pytest.fixture
def parses(monkeypatch) -> list[int]:
    """The lengths of the records that protobuf is asked about."""
    asked: list[int] = []
    parse = example_template.parse
    monkeypatch.setattr(
        example_template, "parse", lambda data: asked.append(len(data)) or parse(data)
    )
    return asked


def test_records_alike_are_parsed_once_for_each_length(parses):
    rng = random.Random(0)
    records = [
        record(rng.randbytes(size), label) for size in (0, 1, 57, 300) for label in range(128)
    ]
    cut = FeatureExtractor("image", "label")
    assert [cut(data) for data in records] == [by_protobuf(data) for data in records]
    assert len(parses) == 4


def test_a_label_of_two_bytes_is_left_to_protobuf():
    # The images make up for the label's second byte: all of one length.
    records = [record(b"\x07" * (9 - (label > 127)), label) for label in range(256)]
    check(records)
    check(records[::-1])


def test_without_a_label_it_may_be_anything_and_is_fixed():
    cut = FeatureExtractor("image", None)
    for label in (1, 1, 2, 2, 300):
        assert cut(record(b"abc", label)) == (b"abc", None)


def test_an_image_that_looks_like_the_record_around_it():
    label = entry("label", int64_list=[3])
    whole = record(label, 5)
    images = [label, label[2:], whole, b"label" * 9, b"\x1a\x03\x0a\x01\x05" * 9, whole + whole]
    check([record(image, label) for image in images for label in (0, 1, 3, 5, 10, 127)])


def test_two_features_of_equal_content():
    check([record(image, 4, copy=b"ab") for image in (b"ab", b"cd", b"ab")])
    check([record(b"ab", 4, copy=copy, other=b"ab") for copy in (b"ab", b"cd", b"ab")])
    numbers = [
        in_order(
            entry("a", int64_list=[first]),
            entry("image", bytes_list=[b"x"]),
            entry("label", int64_list=[label]),
            entry("z", int64_list=[last]),
        )
        for first, label, last in itertools.product((1, 10, 26), repeat=3)
    ]
    check(numbers)


@pytest.mark.parametrize("places", list(itertools.permutations(range(4))))
def test_the_last_of_a_name_that_stands_twice_counts(places):
    def of(image: bytes, other: bytes, label: int, another: int) -> bytes:
        entries = [
            entry("image", bytes_list=[image]),
            entry("image", bytes_list=[other]),
            entry("label", int64_list=[label]),
            entry("label", int64_list=[another]),
        ]
        return in_order(*(entries[place] for place in places))

    check(
        [of(a, b, c, d) for a in (b"p", b"q") for b in (b"p", b"r") for c in (1, 2) for d in (1, 3)]
    )


def test_features_in_any_order_and_of_any_other_value():
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
        records.append(in_order(*entries))
    check(records)


@pytest.mark.parametrize(
    "unusual",
    [
        lambda image, label: entry("image", bytes_list=[image, b"second"]) + label,
        lambda image, label: label + entry("image", bytes_list=[image]),
        # Two Features messages, which protobuf merges.
        lambda image, label: (
            entry("image", bytes_list=[image]) + entry("other", bytes_list=[image]) + label
        ),
        # An unknown field, length-delimited and not.
        lambda image, label: in_order(entry("image", bytes_list=[image]), label) + b"\x22\x01\x05",
        lambda image, label: b"\x28\x05" + in_order(entry("image", bytes_list=[image]), label),
        # A length that is written longer than it need be.
        lambda image, label: long_length(in_order(entry("image", bytes_list=[image]), label)),
        # An entry whose name comes after its value.
        lambda image, label: in_order(turned(entry("image", bytes_list=[image])), label),
        # An entry with two names.
        lambda image, label: in_order(renamed(entry("label", bytes_list=[image])), label),
        # A label that is not packed.
        lambda image, label: in_order(
            entry("image", bytes_list=[image]),
            b"\x0a\x0f\x0a\x0d\x0a\x05label\x12\x04\x1a\x02\x08" + label[-1:],
        ),
    ],
)
def test_what_is_written_in_an_unusual_way(unusual):
    images, labels = (b"abc", b"abd", b"\x05\x05\x05"), (0, 5, 9)
    check(
        [unusual(image, entry("label", int64_list=[label])) for image in images for label in labels]
    )


def long_length(data: bytes) -> bytes:
    return data[:1] + bytes([data[1] | 128, 0]) + data[2:]


def turned(serialized: bytes) -> bytes:
    """The only map entry of a tf.Example with its value before its key."""
    inside = serialized[4:]
    end = 2 + inside[1]
    return serialized[:4] + inside[end:] + inside[:end]


def renamed(serialized: bytes) -> bytes:
    """The only map entry of a tf.Example with a second key, `image`, after its first."""
    inside = serialized[4:]
    end = 2 + inside[1]
    inside = inside[:end] + b"\x0a\x05image" + inside[end:]
    inside = b"\x0a" + bytes([len(inside)]) + inside
    return b"\x0a" + bytes([len(inside)]) + inside


def test_every_flipped_bit_of_a_record_reads_as_protobuf_reads_it():
    whole = record(b"abcdefgh", 5, id=b"train-1")
    cut = FeatureExtractor("image", "label")
    cut(whole)
    for place in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        data = bytes(damaged)
        try:
            expected = FeatureExtractor("image", "label")._parse(data)
        except UnusableError as error:
            with pytest.raises(UnusableError, match=f"^{error}$".replace("[", r"\[")):
                cut(data)
        else:
            assert cut(data) == expected


def test_memory_is_bounded(monkeypatch, parses):
    monkeypatch.setattr(example_template, "_MOST_STENCILS", 2)
    cut = FeatureExtractor("image", "label")
    records = [record(bytes(size), 1) for size in range(5)]
    for data in [*records, *records]:
        assert cut(data) == by_protobuf(data)
    assert len(parses) == 5 + 3


@pytest.mark.parametrize(
    ("data", "reason", "detail"),
    [
        (b"\xff", Reason.UNDECODABLE, "not a tf.Example"),
        (b"", Reason.UNDECODABLE, "no image"),
        (entry("image", int64_list=[3]), Reason.UNDECODABLE, "no image"),
        (entry("image", bytes_list=[b"a"]), Reason.BAD_LABEL, "label [] is not one number"),
        (
            entry("image", bytes_list=[b"a"]) + entry("label", int64_list=[1, 2]),
            Reason.BAD_LABEL,
            "label [1, 2] is not one number",
        ),
    ],
)
def test_what_cannot_be_cut_says_why(data, reason, detail):
    with pytest.raises(UnusableError) as caught:
        FeatureExtractor("image", "label")(data)
    assert (caught.value.reason, str(caught.value)) == (reason, detail)


def test_it_travels_with_what_it_learned(parses):
    cut = FeatureExtractor("image", "label")
    cut(record(b"abc", 5))
    copy = pickle.loads(pickle.dumps(cut))
    assert copy(record(b"xyz", 7)) == (b"xyz", 7)
    assert len(parses) == 1
