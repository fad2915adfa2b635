import zipfile

import pytest
from etils import epath

from components.base.errors import WorkError
from components.model import model_file
from components.model.vae import VAE


def test_the_shape_is_that_of_the_saved_model(tmp_path):
    vae = VAE(image_shape=(6, 4, 3), network="mlp", latents=2, widths=(5,))
    vae.save(tmp_path / "model.keras")
    assert model_file.image_shape(epath.Path(tmp_path / "model.keras")) == (6, 4, 3)


@pytest.mark.parametrize("config", [None, "{", "{}", "[]", '{"config": {"image_shape": [1, 2]}}'])
def test_another_file_is_an_error(tmp_path, config):
    path = epath.Path(tmp_path / "model.keras")
    path.write_bytes(b"no archive")
    if config is not None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", config)
    with pytest.raises(WorkError, match=r"model\.keras is not a VAE of this project"):
        model_file.image_shape(path)
