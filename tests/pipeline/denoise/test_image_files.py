import numpy as np
import pytest
from etils import epath
from PIL import Image

from components.base import files
from components.base.errors import WorkError
from components.data.examples import hash_ids
from components.model import vae as vae_module
from components.model.denoise import denoise
from pipeline.apply.inputs import dataset_tasks
from pipeline.denoise.config import DenoiseConfig
from pipeline.denoise.image_files import DenoisedFiles, file_name


@pytest.mark.parametrize(
    ("example_id", "name"),
    [
        ("a/b.png", "a/b"),
        ("b.jpg", "b.jpg"),
        ("b.PNG", "b.PNG"),
        ("test_00001", "test_00001"),
        ("ü/x y.png", "ü/x y"),
        (".png", None),
        ("../a.png", None),
        ("a/../../b", None),
        ("/etc/passwd", None),
        ("a//b", None),
        ("a\\b", None),
        ("a\nb", None),
        ("", None),
        ("x" * 201, None),
    ],
)
def test_an_id_is_the_name_of_a_file_below_the_directory(example_id, name):
    if name is not None:
        assert file_name(example_id, where="shard") == name
        return
    with pytest.raises(
        WorkError, match=r"shard holds an example with the id .* cannot be"
    ) as caught:
        file_name(example_id, where="shard")
    assert "\n" not in str(caught.value)


def test_the_files_hold_what_the_model_says(example_set, model_dir, tmp_path):
    tasks = dataset_tasks(example_set, epath.Path(tmp_path))
    (task,) = [task for task in tasks if task.split == "test"]
    examples = example_set.read("test")
    vae = vae_module.load(model_dir / "model.keras")
    opened = DenoisedFiles(DenoiseConfig(samples=3, sample=2), uncertainty=True).open(vae)
    written = opened.write(task, iter([examples.part(0, 60), examples.part(60, 100)]))
    assert len(written) == 4 * len(examples)
    for name, record in written.items():
        path = epath.Path(tmp_path) / name
        assert (path.stat().length, files.sha256(path)) == (record.bytes, record.sha256)
    expected = denoise(vae, examples.images, hash_ids(examples.ids), samples=3, kept=2)

    def read(name: str) -> np.ndarray:
        with Image.open(tmp_path / name) as image:
            assert (image.format, image.mode) == ("PNG", "L")
            return np.asarray(image)[..., np.newaxis]

    for row in (0, 59, 99):
        name = file_name(examples.ids[row], where="")
        for path, values in (
            (f"images/{name}.png", expected.mean[row]),
            (f"samples/{name}/1.png", expected.draws[row, 0]),
            (f"samples/{name}/2.png", expected.draws[row, 1]),
            (f"uncertainty/{name}.png", 2 * expected.deviation[row]),
        ):
            np.testing.assert_allclose(read(path), 255 * values, atol=0.501)
