import io
import json
import random
import zipfile
from pathlib import Path

import pytest
from etils import epath

from components.base.errors import WorkError
from components.model import model_file
from components.model.vae import VAE


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> bytes:
    """A `.keras` file."""
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    VAE(image_shape=(6, 4, 3), network="mlp", latents=2, widths=(5,)).save(path)
    return path.read_bytes()


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, contents: dict[str, bytes], **kwargs) -> epath.Path:
    with zipfile.ZipFile(path, "w", **kwargs) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return epath.Path(path)


def with_config(data: bytes, change) -> dict[str, bytes]:
    """The members of a file, with its parsed `config.json` changed."""
    contents = members(data)
    config = json.loads(contents["config.json"])
    return contents | {"config.json": json.dumps(change(config)).encode()}


def test_a_file_holds_the_arguments_of_the_constructor_and_the_weights(saved, tmp_path):
    path = epath.Path(tmp_path / "model.keras")
    path.write_bytes(saved)
    read = model_file.read(path)
    expected = {"image_shape": [6, 4, 3], "network": "mlp", "latents": 2, "widths": [5]}
    assert expected.items() <= read.config.items()
    assert "dtype" not in read.config
    assert read.weights == members(saved)["model.weights.h5"]
    assert model_file.image_shape(path) == (6, 4, 3)


def test_a_setting_of_earlier_versions_that_no_prior_uses_is_ignored(saved, tmp_path):
    with_components = with_config(saved, lambda config: updated(config, prior_components=100))
    earlier = write(tmp_path / "earlier.keras", with_components)
    assert model_file.read(earlier).config == read_config(saved, tmp_path)


def read_config(data: bytes, directory: Path) -> dict:
    path = epath.Path(directory / "now.keras")
    path.write_bytes(data)
    return model_file.read(path).config


def test_another_file_is_an_error(tmp_path):
    path = epath.Path(tmp_path / "model.keras")
    path.write_bytes(b"no archive")
    for read in (model_file.image_shape, model_file.read):
        with pytest.raises(WorkError, match=r"model\.keras is not a VAE of this project: it is no"):
            read(path)


def renamed(config, name):
    return config | {"registered_name": name}


def updated(config, **fields):
    return config | {"config": config["config"] | fields}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda _: {}, "does not describe a vae_pipeline>VAE"),
        (lambda _: [], "does not describe a vae_pipeline>VAE"),
        (lambda c: renamed(c, None), "does not describe a vae_pipeline>VAE"),
        (lambda c: renamed(c, "other>VAE"), "does not describe a vae_pipeline>VAE"),
        (lambda c: {**c, "config": [1]}, "config is a list of 1 values, not an object"),
        (lambda c: updated(c, image_shape=None), "image_shape is None, not a list"),
        (lambda c: updated(c, image_shape=[1, 2]), "image_shape is a list of 2 values"),
        (lambda c: updated(c, image_shape=[1, 2, 2.5]), r"image_shape\[2\] is 2.5"),
        (lambda c: updated(c, image_shape=[1, 2, True]), r"image_shape\[2\] is True"),
        (
            lambda c: updated(c, network={"class_name": "Lambda", "config": {"function": "evil"}}),
            "config.network is not a number, text or a short list",
        ),
        (lambda c: updated(c, widths=[[5]]), "config.widths is not a number, text or a short list"),
        (lambda c: updated(c, widths=[5] * 257), "config.widths is not a number, text or a short"),
        (lambda c: updated(c, name="n" * 70_000), "config.json has more than 65,536 bytes"),
    ],
)
def test_another_config_is_an_error(saved, tmp_path, change, reason):
    path = write(tmp_path / "model.keras", with_config(saved, change))
    with pytest.raises(WorkError, match=reason) as error:
        model_file.image_shape(path)
    assert str(error.value).startswith(f"{path} is not a VAE of this project: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", [b"{", b"\xff", b"[" * 10_000, b'{"config": ' * 5000])
def test_a_config_that_is_not_json_is_an_error(saved, tmp_path, text):
    path = write(tmp_path / "model.keras", members(saved) | {"config.json": text})
    with pytest.raises(WorkError, match="is not a VAE of this project: it is ") as error:
        model_file.image_shape(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c | {"../evil": b""},
        lambda c: c | {"assets/a": b""},
        lambda c: {name: content for name, content in c.items() if name != "model.weights.h5"},
        lambda c: {},
    ],
)
def test_other_members_are_an_error(saved, tmp_path, change):
    path = write(tmp_path / "model.keras", change(members(saved)))
    with pytest.raises(WorkError, match=r"does not consist of config\.json, metadata\.json, model"):
        model_file.read(path)


def test_an_archive_that_unpacks_to_much_more_is_refused(saved, tmp_path):
    contents = members(saved) | {"model.weights.h5": bytes(64 << 20)}
    path = write(tmp_path / "model.keras", contents, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().length < 1 << 20
    for read in (model_file.image_shape, model_file.read):
        with pytest.raises(WorkError, match="is compressed or encrypted"):
            read(path)


def test_a_device_is_not_read():
    with pytest.raises(WorkError, match="/dev/zero"):
        model_file.read(epath.Path("/dev/zero"))


def test_damage_is_one_line_or_changes_nothing(saved, tmp_path):
    rng = random.Random(0)
    path = epath.Path(tmp_path / "model.keras")
    path.write_bytes(saved)
    intact = model_file.read(path)
    messages = []
    for number in range(400):
        data = bytearray(saved)
        # Every second time near an end, where the config and the directory of the archive are.
        place = rng.randrange(len(data)) if number % 2 else rng.randrange(-800, 800)
        data[place] ^= 1 << rng.randrange(8)
        path.write_bytes(data[: rng.randrange(len(data))] if number % 8 == 0 else data)
        try:
            read = model_file.read(path)
        except WorkError as error:
            messages.append(str(error))
        else:
            assert read == intact
    assert len(messages) > 200
    assert not any("\n" in message for message in messages)


def test_files_of_earlier_versions_have_no_classes_and_one_level(saved, tmp_path):
    def without_either(config):
        del config["config"]["classes"], config["config"]["levels"], config["config"]["prior"]
        return config

    earlier = write(tmp_path / "earlier.keras", with_config(saved, without_either))
    assert model_file.num_classes(earlier) == 0
    assert model_file.num_levels(earlier) == 1
    assert model_file.prior_name(earlier) == "standard_normal"
    conditional = epath.Path(tmp_path / "conditional.keras")
    VAE(
        image_shape=(6, 4, 3), network="mlp", latents=2, widths=(5,), classes=7, prior="real_nvp"
    ).save(conditional)
    assert model_file.num_classes(conditional) == 7
    assert model_file.prior_name(conditional) == "real_nvp"
