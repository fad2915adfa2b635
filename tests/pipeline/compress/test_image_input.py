import numpy as np
import pytest
from etils import epath
from PIL import Image

from components.base.errors import ConfigError, WorkError
from components.base.manifest import load_artifact
from components.model import model_file
from components.model.registry import MODEL_FILE
from pipeline.compress import image_input
from pipeline.compress.image_input import ImageFolder
from pipeline.compress.index import FolderIndex


def save(path, shape=(4, 6), mode="L", seed=0):
    channels = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (*shape, *channels)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def folder(path, channels=1):
    return ImageFolder(epath.Path(path), (4, 6, channels))


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3)])
def test_the_images_of_a_folder_are_read_as_they_are(tmp_path, mode, channels):
    first = save(tmp_path / "b.png", mode=mode)
    second = save(tmp_path / "a/c.bmp", mode=mode, seed=1)
    source = folder(tmp_path, channels)
    images = np.concatenate([batch.images for batch in source.batches()])
    assert images.shape == (2, 4, 6, channels)
    assert (images[0] == second.reshape(4, 6, channels)).all()
    assert (images[1] == first.reshape(4, 6, channels)).all()
    assert source.index() == FolderIndex(["a/c.png", "b.png"])


@pytest.mark.parametrize(
    ("shape", "mode", "found"), [((5, 6), "L", "5x6 L"), ((4, 6), "RGBA", "4x6 RGBA")]
)
def test_other_images_are_refused(tmp_path, shape, mode, found):
    save(tmp_path / "a.png", shape, mode)
    with pytest.raises(ConfigError, match=f"a.png is {found} .* the model codes 4x6 L images"):
        list(folder(tmp_path).batches())


def test_what_is_no_image_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(WorkError, match=r"notes.txt cannot be read as an image"):
        list(folder(tmp_path).batches())


def test_names_that_would_come_back_as_one_are_refused(tmp_path):
    save(tmp_path / "a.png")
    save(tmp_path / "a.bmp")
    with pytest.raises(ConfigError, match="would come back under one name"):
        folder(tmp_path)


def test_a_conditional_model_needs_labels_that_it_knows(examples_dir, coded_model_dir, tmp_path):
    model = load_artifact(coded_model_dir, stage="train")
    save(tmp_path / "a.png")
    with pytest.raises(ConfigError, match="a folder of images without labels"):
        image_input.find(str(tmp_path), model, (4, 6, 1), classes=3)
    shape = model_file.image_shape(model.path / MODEL_FILE)
    source = image_input.find(f"{examples_dir}/*test*", model, shape, classes=2)
    with pytest.raises(ConfigError, match=r"has an example of the label \d, and the model"):
        list(source.batches())


def test_another_content_is_another_input(tmp_path):
    save(tmp_path / "a.png")
    before = folder(tmp_path).input.fingerprint
    assert folder(tmp_path).input.fingerprint == before
    save(tmp_path / "b.png")
    assert folder(tmp_path).input.fingerprint != before
