import io

import numpy as np
import pytest
from PIL import Image

from components.base import file_types
from components.base.file_types import FileType, identify

PICTURE = Image.fromarray(np.arange(12 * 16, dtype=np.uint8).reshape(12, 16))


def saved(format: str, mode: str = "L", **options) -> bytes:
    buffer = io.BytesIO()
    PICTURE.convert(mode).save(buffer, format, **options)
    return buffer.getvalue()


def media(*brands: bytes) -> bytes:
    """The beginning of an ISO base media file: its major brand, and the compatible ones."""
    content = b"ftyp" + brands[0] + bytes(4) + b"".join(brands[1:])
    return (4 + len(content)).to_bytes(4, "big") + content + b"\0\0\1\0meta"


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (saved("PNG"), "a PNG"),
        (saved("JPEG"), "a JPEG"),
        (saved("WEBP", "RGB"), "a WebP"),
        (saved("BMP"), "a BMP"),
        (saved("GIF"), "a GIF"),
        (saved("ICO"), "an ICO"),
        (saved("TIFF"), "a TIFF"),
        (saved("TIFF", big_tiff=True), "a BigTIFF"),
        (b"MM\0*" + bytes(9), "a TIFF"),
        (saved("PPM"), "a PGM"),
        (saved("PPM", "RGB"), "a PPM"),
        (saved("PPM", "1"), "a PBM"),
        (saved("PPM", "F"), "a PFM"),
        (b"P2\n2 2\n255\n0 1 2 3\n", "a PGM"),
        (b"P7\nWIDTH 2\n", "a PAM"),
        (saved("JPEG2000"), "a JPEG 2000"),
        (saved("JPEG2000", no_jp2=True), "a JPEG 2000"),
        (saved("DDS", "RGB"), "a DDS"),
        (b"8BPS\0\1" + bytes(20), "a PSD"),
        (b"\xff\x0a" + bytes(9), "a JPEG XL"),
        (saved("PDF"), "a PDF"),
        (media(b"heic", b"mif1", b"heic"), "a HEIC"),
        (media(b"mif1", b"mif1", b"heic"), "a HEIC"),
        (media(b"mif1", b"mif1", b"avif"), "an AVIF"),
        (media(b"mif1"), "a HEIF"),
        (media(b"avif", b"mif1"), "an AVIF"),
        (bytes(128) + b"DICM" + bytes(9), "a DICOM"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- drawn -->\n<svg width="9"/>', "an SVG"),
        (b'<?xml version="1.0"?>' + b" " * 900 + b"<svg/>", "an SVG"),
    ],
)
def test_pictures_are_named_with_the_next_step(content, name):
    found = identify(content)
    assert (found.name, found.is_image) == (name, True)
    assert "PNG" in found.advice


def test_avif_as_pillow_writes_it():
    if "AVIF" not in Image.SAVE:
        pytest.skip("this Pillow writes no AVIF")
    assert identify(saved("AVIF", "RGB")).name == "an AVIF"


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (media(b"isom", b"mp41"), "a video"),
        (b"RIFF\0\0\0\0WAVEfmt ", "a WAV sound"),
        (b"RIFF\0\0\0\0AVI LIST", "an AVI video"),
        (b"PK\3\4....", "a zip file"),
        (b"\x1f\x8b\x08\0", "a gzip file"),
        (b"\x93NUMPY\1\0", "a NumPy array"),
        (b"<html><head>", "an HTML page"),
        (b"\n\n<!doctype HTML>", "an HTML page"),
        (b'<?xml version="1.0"?><note/>', "text"),
        (b"no image\nat all", "text"),
        ("två åäö".encode(), "text"),
        (("å" * 5000).encode(), "text"),
        (b"\xe5\xe4 Latin-1 \xf6\xe5", "unknown content"),
        (b"P5 is a name", "a PGM"),
        (b"P9 is none", "text"),
        (b"Pi", "text"),
        (bytes(20), "unknown content"),
        (b"", "unknown content"),
        (b"\x80\x09", "unknown content"),
    ],
)
def test_other_content_is_named(content, name):
    assert identify(content).name == name


@pytest.mark.parametrize("length", range(60))
def test_the_beginning_of_any_picture_has_a_type(length):
    for content in (saved("PNG"), media(b"mif1", b"avif"), b"<?xml version='1.0'?><svg/>"):
        assert isinstance(identify(content[:length]), FileType)


def test_a_name_decides_only_where_the_content_says_too_little():
    assert identify(b"1,2,3", "a.csv").name == "a table in text"
    assert identify(saved("PNG"), "a.csv").name == "a PNG"
    assert identify(b"PK\3\4", "a.pth").name == "a PyTorch file"
    assert identify(bytes(9), "a.bin") == file_types.UNKNOWN
