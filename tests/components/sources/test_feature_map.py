import pytest
from tensorflow_datasets.proto import tf_example_pb2

from components.base.errors import ConfigError
from components.ingest.example_template import parse
from components.ingest.rejection import Reason, UnusableError
from components.sources.feature_map import (
    MAX_TEXT,
    FeatureMap,
    read_id,
    read_image,
    read_label,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("image=a", FeatureMap("a")),
        (
            "image=image/encoded,label=image/class/label",
            FeatureMap("image/encoded", None, "image/class/label"),
        ),
        ("image=a:28x20x3,label=b:c,id=d e", FeatureMap("a", (28, 20, 3), "b:c", "d e")),
        ("image=a:b:1x2x1,id=i", FeatureMap("a:b", (1, 2, 1), None, "i")),
        ("image=a:uint16:28x20x3", FeatureMap("a", (28, 20, 3), pixel_type="uint16")),
        (
            "image=a:b:float32:3x28x20",
            FeatureMap("a:b", (28, 20, 3), pixel_type="float32", channels_first=True),
        ),
        ("image=a:1x28x20", FeatureMap("a", (28, 20, 1), channels_first=True)),
        ("image=a:3x20x3", FeatureMap("a", (3, 20, 3))),
    ],
)
def test_a_feature_map_is_parsed_and_formatted(text, expected):
    assert FeatureMap.parse(text) == expected
    assert expected.as_text() == text


def test_the_order_of_a_feature_map_does_not_matter():
    assert FeatureMap.parse("id=c,label=b,image=a").as_text() == "image=a,label=b,id=c"


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("", "'' is not understood"),
        ("label=a", "image=FEATURE is missing"),
        ("image=a,image=b", "'image=b' is not understood"),
        ("image=a,labels=b", "'labels=b' is not understood"),
        ("image=", "'image=' is not understood"),
        ("image=a,", "'' is not understood"),
        ("image=a=b", "'a=b' holds a second '='"),
        ("image=a:28x28x2", "1 or 3 channels"),
        ("image=a:0x28x1", "1 or 3 channels"),
        ("image=a:3x0x28", "1 or 3 channels"),
        ("image=a:8192x8192x1", "at most 33,554,432 pixels"),
        ("image=a:float16:3x32x32", "'float16' is not a type of pixels (uint8, uint16, float32"),
        ("image=a:float32", "pixels of the type float32 need a shape"),
    ],
)
def test_an_invalid_feature_map_is_refused_with_an_example(text, detail):
    with pytest.raises(ConfigError) as caught:
        FeatureMap.parse(text)
    assert detail in str(caught.value)
    assert "image=image/encoded,label=image/class/label" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_number_below_minus_one_is_no_label():
    for number in (0, 5, -1):
        record = tf_example_of(label=number)
        assert read_label(parse(record), "label") == number
    with pytest.raises(UnusableError, match="no label in feature 'label'"):
        read_label(parse(tf_example_of(label=-2)), "label")


def test_several_images_in_one_feature_are_refused():
    for shape in (None, (2, 3, 1)):
        with pytest.raises(UnusableError, match="24 images in feature 'image'") as caught:
            read_image(parse(tf_example_of(image=[bytes(6)] * 24)), FeatureMap("image", shape))
        assert caught.value.reason == Reason.WRONG_TYPE


def tf_example_of(**features) -> bytes:
    message = tf_example_pb2.Example()
    for name, value in features.items():
        if isinstance(value, int):
            message.features.feature[name].int64_list.value.append(value)
        else:
            message.features.feature[name].bytes_list.value.extend(value)
    return message.SerializeToString()


def test_the_advice_for_pixels_of_another_type_is_a_feature_map():
    features = FeatureMap.parse("image=image:2x3x1")
    with pytest.raises(UnusableError, match=r"pass image=image:float32:2x3x1") as caught:
        read_image(parse(tf_example_of(image=[bytes(24)])), features)
    given = FeatureMap.parse(str(caught.value).split("pass ")[1])
    assert read_image(parse(tf_example_of(image=[bytes(24)])), given) == bytes(24)


@pytest.mark.parametrize("length", [MAX_TEXT, MAX_TEXT + 1])
def test_long_texts_are_neither_labels_nor_ids(length):
    """They would fill the memory: a batch holds thousands of ids, and a scan all labels."""
    features = parse(tf_example_of(text=[b"a" * length]))
    for read in (read_label, read_id):
        if length == MAX_TEXT:
            assert read(features, "text") == "a" * length
        else:
            with pytest.raises(UnusableError, match="in feature 'text'") as caught:
                read(features, "text")
            assert len(str(caught.value)) < 120
