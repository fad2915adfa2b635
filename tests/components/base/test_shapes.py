from components.base.shapes import format_shape


def test_format_shape():
    assert format_shape((28, 32, 3)) == "28x32x3"
    assert format_shape([5]) == "5"
