import pytest
from tensorflow_datasets.proto import tf_example_pb2

from components.base.errors import ConfigError
from components.ingest.example_template import parse
from components.ingest.rejection import Reason, UnusableError
from components.sources.feature_map import FeatureMap, read_image, read_label


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
            read_image(parse(tf_example_of(image=[bytes(6)] * 24)), "image", shape)
        assert caught.value.reason == Reason.WRONG_TYPE


def tf_example_of(**features) -> bytes:
    message = tf_example_pb2.Example()
    for name, value in features.items():
        if isinstance(value, int):
            message.features.feature[name].int64_list.value.append(value)
        else:
            message.features.feature[name].bytes_list.value.extend(value)
    return message.SerializeToString()
