import shutil

import numpy as np
import pytest
from PIL import Image

from components.base.errors import ConfigError
from pipeline.neighbours import query
from pipeline.neighbours.query import ImageQuery, RowQuery
from pipeline.neighbours.tables import EmbeddingRows
from tests.manifests import edit_manifest
from tests.pipeline.neighbours.written_tables import ids, normal, png, write_tables


@pytest.fixture
def rows(embedded_dir) -> EmbeddingRows:
    return EmbeddingRows.open(embedded_dir)


def find(name, rows, *, model=None, background=None):
    return query.find(str(name), rows, model=model, background=background)


def test_an_id_is_a_row_even_if_a_file_has_its_name(tmp_path, monkeypatch):
    means = normal(20)
    rows = EmbeddingRows.open(write_tables(tmp_path / "out", means, files=2))
    monkeypatch.chdir(tmp_path)
    (tmp_path / ids(20)[15]).write_bytes(png(0))
    found = find(ids(20)[15], rows)
    assert isinstance(found, RowQuery)
    point = found.locate(rows)
    assert point.row == 15
    np.testing.assert_array_equal(point.mean, means[15])


def test_an_image_file_gets_the_embedding_that_the_embed_stage_gives_it(
    rows, embedded_dir, example_set, tmp_path
):
    """A PNG file of the pixels of each of three examples, and the model of the manifest."""
    examples = example_set.read("test")
    for row in (0, 42, 99):
        file = tmp_path / "image.png"
        Image.fromarray(examples.images[row, :, :, 0]).save(file)
        found = find(file, rows)
        assert isinstance(found, ImageQuery)
        point = found.locate(rows)
        assert point.row is None
        np.testing.assert_array_equal(point.pixels, examples.images[row])
        (expected,) = rows.read([row], "id", "mean")
        assert expected["id"] == examples.ids[row]
        np.testing.assert_allclose(point.mean, expected["mean"], atol=1e-5)


@pytest.mark.parametrize(
    ("recorded", "given", "expected"),
    [(None, None, 0), ("white", None, 255), ("white", "black", 0), (None, "white", 255)],
)
def test_an_image_file_is_converted_to_what_the_model_takes(
    embedded_dir, model_dir, tmp_path, recorded, given, expected
):
    """A transparent picture in color, of another size."""
    shutil.copytree(embedded_dir, tmp_path / "out")
    if recorded:
        edit_manifest(tmp_path / "out", lambda value: value["config"].update(background=recorded))
    rows = EmbeddingRows.open(tmp_path / "out")
    Image.new("RGBA", (60, 60), (255, 0, 0, 0)).save(tmp_path / "image.png")
    found = find(tmp_path / "image.png", rows, model=model_dir, background=given)
    pixels = found.locate(rows).pixels
    assert pixels.shape == (28, 28, 1)
    assert (pixels == expected).all()


def test_what_is_neither_an_id_nor_a_file_is_explained_with_an_example(rows, example_set, tmp_path):
    for name in (tmp_path, "tset-0", "bad\udcff"):
        with pytest.raises(ConfigError, match="neither the id of a row") as raised:
            find(name, rows)
        assert repr(example_set.read("test").ids[0]) in str(raised.value)


def test_a_file_that_is_no_image_is_refused(rows, tmp_path):
    (tmp_path / "image.png").write_text("no image")
    with pytest.raises(ConfigError, match=r"image\.png cannot be used: "):
        find(tmp_path / "image.png", rows).locate(rows)


def test_a_model_that_is_not_there_is_asked_for(embedded_dir, model_dir, tmp_path):
    shutil.copytree(embedded_dir, tmp_path / "moved/out")
    rows = EmbeddingRows.open(tmp_path / "moved/out")
    (tmp_path / "image.png").write_bytes(png(0))
    with pytest.raises(ConfigError, match="an image file needs it; pass its directory with --mod"):
        find(tmp_path / "image.png", rows)
    assert find(tmp_path / "image.png", rows, model=model_dir).model.path.name == "model"


def test_another_model_is_refused(model_dir, tmp_path):
    rows = EmbeddingRows.open(write_tables(tmp_path / "out", normal(3), model_sha256="1" * 64))
    (tmp_path / "image.png").write_bytes(png(0))
    with pytest.raises(ConfigError, match="is not the model that made"):
        find(tmp_path / "image.png", rows, model=model_dir)
