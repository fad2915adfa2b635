"""Recognizes types of files that this project does not read, by their first bytes.

Error messages then name the type, and what to do about it.
"""

from typing import NamedTuple

HEAD_BYTES = 4096
"""Number of bytes at the beginning of a file that determine its type."""


class FileType(NamedTuple):
    """A file type.

    Attributes:
      name: the type, with an article: "a GIF".
      advice: what to do with such a file, as an imperative; "" if nothing is known.
      is_image: whether the file holds one picture.
    """

    name: str
    advice: str = ""
    is_image: bool = False


UNKNOWN = FileType("unknown content")
UNPACK = "unpack it"

_AS_PNG = "convert it to PNG"
_AS_NPZ = "save its images as uint8 with np.savez('data.npz', images=..., labels=...)"
_LFS = "fetch the file itself with git lfs pull"

_IMAGES: dict[bytes, str] = {
    b"\x89PNG\r\n\x1a\n": "a PNG",
    b"\xff\xd8\xff": "a JPEG",
    b"BM": "a BMP",
    b"GIF8": "a GIF",
    b"II*\0": "a TIFF",
    b"MM\0*": "a TIFF",
    b"II+\0": "a BigTIFF",
    b"MM\0+": "a BigTIFF",
    b"\0\0\1\0": "an ICO",
    b"\0\0\2\0": "a CUR",
    b"8BPS": "a PSD",
    b"\0\0\0\x0cjP  \r\n\x87\n": "a JPEG 2000",
    b"\xff\x4f\xff\x51": "a JPEG 2000",
    b"\0\0\0\x0cJXL \r\n\x87\n": "a JPEG XL",
    b"\xff\x0a": "a JPEG XL",
    b"v/1\x01": "an OpenEXR",
    b"#?RADIANCE": "a Radiance HDR",
    b"DDS ": "a DDS",
    b"qoif": "a QOI",
    b"%PDF": "a PDF",
}
_MATLAB = FileType("a MATLAB file", f"read it with scipy.io.loadmat, and {_AS_NPZ}")
_PICKLE = FileType("a pickle, which may run any code", f"load it if you trust it, and {_AS_NPZ}")
_TABLE = FileType(
    "a table in text",
    "put the image files that it lists into one folder per class, or reshape the pixels in it to "
    f"[N, height, width] and {_AS_NPZ}",
)
_OTHERS: dict[bytes, FileType] = {
    b"PK\x03\x04": FileType("a zip file", UNPACK),
    b"PK\x05\x06": FileType("an empty zip file"),
    b"\x1f\x8b": FileType("a gzip file", UNPACK),
    b"BZh": FileType("a bzip2 file", UNPACK),
    b"\xfd7zXZ\0": FileType("an xz file", UNPACK),
    b"\x28\xb5\x2f\xfd": FileType("a Zstandard file", UNPACK),
    b"7z\xbc\xaf\x27\x1c": FileType("a 7z file", UNPACK),
    b"Rar!\x1a\x07": FileType("a RAR file", UNPACK),
    b"\x89HDF\r\n\x1a\n": FileType("an HDF5 file", f"read it with h5py, and {_AS_NPZ}"),
    b"MATLAB 7.3 MAT-file": FileType("a MATLAB 7.3 file", f"read it with h5py, and {_AS_NPZ}"),
    b"MATLAB 5.0 MAT-file": _MATLAB,
    b"PAR1": FileType("a Parquet file", f"read it with pandas.read_parquet, and {_AS_NPZ}"),
    b"ARROW1": FileType("an Arrow file", f"read it with pyarrow, and {_AS_NPZ}"),
    b"\x93NUMPY": FileType("a NumPy array", "give its name the extension .npy"),
    b"SQLite format 3\0": FileType("an SQLite database", f"read it with sqlite3, and {_AS_NPZ}"),
    b"version https://git-lfs": FileType("a Git LFS pointer", _LFS),
}
# Brands in the header of an ISO base media file (ISO/IEC 14496-12), the container of HEIF.
_BRANDS: dict[bytes, str] = {
    **dict.fromkeys((b"avif", b"avis"), "an AVIF"),
    **dict.fromkeys(
        (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "a HEIC"
    ),
    **dict.fromkeys((b"mif1", b"msf1"), "a HEIF"),
}
_RIFF: dict[bytes, FileType] = {
    b"WEBP": FileType("a WebP", _AS_PNG, is_image=True),
    b"WAVE": FileType("a WAV sound"),
    b"AVI ": FileType("an AVI video", "save its frames as PNG files"),
}
# By file name, for content that does not determine the type: text, unknown content, containers.
_BY_EXTENSION: dict[str, FileType] = {
    **dict.fromkeys((".csv", ".tsv"), _TABLE),
    **dict.fromkeys((".pkl", ".pickle"), _PICKLE),
    ".mat": _MATLAB,
    **dict.fromkeys(
        (".pt", ".pth"), FileType("a PyTorch file", f"read it with torch.load, and {_AS_NPZ}")
    ),
    **dict.fromkeys((".tgz", ".tar.gz"), FileType("a tar file", UNPACK)),
}
_VAGUE = ("text", "unknown content", "a zip file", "a gzip file")
# The letter after P, of the portable formats of Netpbm.
_NETPBM = {
    **dict.fromkeys(b"14", "a PBM"),
    **dict.fromkeys(b"25", "a PGM"),
    **dict.fromkeys(b"36", "a PPM"),
    **dict.fromkeys(b"7", "a PAM"),
    **dict.fromkeys(b"Ff", "a PFM"),
}


def identify(head: bytes, name: str = "") -> FileType:
    """The type of a file that begins with `head`; "unknown content" if none is recognized.

    Args:
      head: the first HEAD_BYTES bytes of the file, or the whole file if it is shorter.
      name: name of the file, for content that does not determine the type.
    """
    found = _by_content(head[:HEAD_BYTES])
    if found.name in _VAGUE:
        for extension, file_type in _BY_EXTENSION.items():
            if name.lower().endswith(extension):
                return file_type
    return found


def _image(name: str) -> FileType:
    return FileType(name, _AS_PNG, is_image=True)


def _by_content(head: bytes) -> FileType:
    """The type of a file that begins with `head`."""
    for magic, name in _IMAGES.items():
        if head.startswith(magic):
            return _image(name)
    for magic, file_type in _OTHERS.items():
        if head.startswith(magic):
            return file_type
    return _by_structure(head) or _by_text(head) or UNKNOWN


def _by_structure(head: bytes) -> FileType | None:
    """The type of a file whose first bytes vary."""
    if head[:4] == b"RIFF" and head[8:12] in _RIFF:
        return _RIFF[head[8:12]]
    if head[4:8] == b"ftyp":
        return _iso_media(head)
    if len(head) > 3 and head[:1] == b"P" and head[1] in _NETPBM and head[2:3].isspace():
        return _image(_NETPBM[head[1]])
    if head[128:132] == b"DICM":
        return FileType("a DICOM", f"read it with pydicom, and {_AS_PNG}", is_image=True)
    if head[257:262] == b"ustar":
        return FileType("a tar file", UNPACK)
    # A pickle of protocol 2 or later begins with PROTO and the version.
    if head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        return _PICKLE
    if head[:2] == b"\0\0" and head[2:3] in (b"\x08", b"\x09", b"\x0b", b"\x0c", b"\x0d", b"\x0e"):
        return FileType("an IDX file", "name it like MNIST's: train-images-idx3-ubyte")
    return None


def _iso_media(head: bytes) -> FileType:
    """The type of an ISO base media file, by its brands."""
    size = int.from_bytes(head[:4], "big")
    # The major brand, a version, and the compatible brands, which tell the codec of a `mif1`.
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, min(size, len(head)), 4))]
    names = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
    if not names:
        return FileType("a video", "save its frames as PNG files")
    specific = [name for name in names if name != "a HEIF"]
    return _image((specific or names)[0])


def _by_text(head: bytes) -> FileType | None:
    """The type of a file of text."""
    # Only the last character may be incomplete, since `head` may end within it.
    text = head.decode(errors="ignore")
    if len(text.encode()) < len(head) - 3:
        return None
    text = text.removeprefix("\ufeff").lstrip()
    start = text.lower()
    if start.startswith(("<svg", "<?xml", "<!--", "<!doctype svg")) and "<svg" in start:
        return FileType("an SVG", "render it as PNG", is_image=True)
    if start.startswith(("<!doctype html", "<html")):
        return FileType("an HTML page", "download the file itself")
    is_text = all(letter.isprintable() or letter.isspace() for letter in text[:64])
    return FileType("text") if text and is_text else None
