import io

import h5py
import numpy as np
import pytest

from components.base.errors import WorkError
from components.model import vae
from components.model.vae import VAE
from tests.components.model.test_model_file import members, updated, with_config, write

WEIGHTS = "model.weights.h5"
DENSE = "encoder/layers/dense/vars"


@pytest.fixture(scope="module")
def model() -> VAE:
    return VAE(image_shape=(6, 4, 3), network="mlp", latents=2, widths=(5,))


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory) -> bytes:
    """The `.keras` file of the model."""
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    model.save(path)
    return path.read_bytes()


def edited(data: bytes, edit) -> dict[str, bytes]:
    """The members of a `.keras` file whose HDF5 file has been edited."""
    contents = members(data)
    buffer = io.BytesIO(contents[WEIGHTS])
    with h5py.File(buffer, "r+") as file:
        edit(file)
    return contents | {WEIGHTS: buffer.getvalue()}


def replace(file: h5py.File, name: str, **kwargs) -> None:
    """Replaces an array; `kwargs` are arguments of `create_dataset`."""
    shape = file[name].shape
    del file[name]
    file.create_dataset(name, **{"shape": shape, "dtype": "float32"} | kwargs)


def test_a_model_is_restored_with_its_weights(saved, model, tmp_path):
    (tmp_path / "model.keras").write_bytes(saved)
    loaded = vae.load(tmp_path / "model.keras")
    assert loaded.get_config() == model.get_config()
    for one, other in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "fields",
    [
        {"network": "none"},
        {"network": 5},
        {"network": ["mlp"]},
        {"latents": "2"},
        {"latents": 0},
        {"latents": None},
        {"widths": 5},
        {"widths": []},
        {"widths": [-5]},
        {"widths": [2**62]},
        {"widths": ["5"]},
        {"network": "conv", "widths": []},
        {"network": "conv", "widths": [5]},
        {"image_shape": [0, 4, 3]},
        {"image_shape": 6},
        {"image_shape": [6, 4]},
        {"compute_dtype": "int7"},
        {"unknown": 1},
        {"name": 5},
        {"latents": 3},
        {"widths": [5, 5]},
        {"widths": [2**31 - 1, 2**31 - 1]},
        {"image_shape": [4, 6, 4]},
        {"network": "conv", "widths": [5, 5]},
        {"compute_dtype": "float16"},
    ],
    ids=str,
)
def test_a_config_that_does_not_fit_is_one_line(saved, tmp_path, fields):
    path = write(tmp_path / "model.keras", with_config(saved, lambda c: updated(c, **fields)))
    with pytest.raises(WorkError, match="is not a VAE of this project: its ") as error:
        vae.load(path)
    assert str(error.value).startswith(f"{path} is not")
    assert "\n" not in str(error.value)


def claim_much(file: h5py.File) -> None:
    """Claims 4 TB of zeros, which are not in the file."""
    replace(file, f"{DENSE}/0", shape=(10**6, 10**6))


def claim_much_compressed(file: h5py.File) -> None:
    replace(file, f"{DENSE}/0", shape=(10**6, 10**3), chunks=(1000, 1000), compression="gzip")


def never_write(file: h5py.File) -> None:
    """An array of the right shape, whose values are not in the file."""
    replace(file, f"{DENSE}/0")


def refer_to_a_file(file: h5py.File) -> None:
    replace(file, f"{DENSE}/1", external=[("/etc/hostname", 0, 20)])


def link_to_a_file(file: h5py.File) -> None:
    del file[f"{DENSE}/0"]
    file[f"{DENSE}/0"] = h5py.ExternalLink("/etc/hostname", "/")


def link_within(file: h5py.File) -> None:
    del file[f"{DENSE}/1"]
    file[f"{DENSE}/1"] = h5py.SoftLink("/decoder/layers/dense/vars/1")


def make_virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(shape=(5,), dtype="float32")
    layout[:] = h5py.VirtualSource(".", "decoder/layers/dense/vars/1", shape=(5,))
    del file[f"{DENSE}/1"]
    file.create_virtual_dataset(f"{DENSE}/1", layout)


def name_a_type(file: h5py.File) -> None:
    file["type"] = np.dtype("float32")


def change_type(file: h5py.File) -> None:
    replace(file, f"{DENSE}/1", dtype="float64", data=np.zeros(5))


def hold_strings(file: h5py.File) -> None:
    replace(file, f"{DENSE}/1", dtype=h5py.string_dtype(), data=["x"] * 5)


def leave_out(file: h5py.File) -> None:
    del file[f"{DENSE}/1"]


def move(file: h5py.File) -> None:
    """All shapes are there, but not where the model looks for them."""
    file.move(f"{DENSE}/1", "elsewhere")


def add(file: h5py.File) -> None:
    file["more"] = np.zeros(3, np.float32)


def repeat(file: h5py.File) -> None:
    for number in range(10_000):
        file[f"again{number}"] = file[f"{DENSE}/0"]


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (claim_much, "damaged"),
        (claim_much_compressed, "damaged"),
        (never_write, "damaged"),
        (refer_to_a_file, "damaged"),
        (link_to_a_file, "damaged"),
        (link_within, "damaged"),
        (make_virtual, "damaged"),
        (name_a_type, "damaged"),
        (hold_strings, "damaged"),
        (change_type, "not those of its config"),
        (leave_out, "not those of its config"),
        (move, "not those of its config"),
        (add, "not those of its config"),
        (repeat, "damaged"),
    ],
)
def test_weights_that_do_not_fit_are_one_line(saved, tmp_path, edit, reason):
    path = write(tmp_path / "model.keras", edited(saved, edit))
    with pytest.raises(WorkError, match=f"is not a VAE of this project: its weights are {reason}"):
        vae.load(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_one_line(saved, tmp_path, value):
    def spoil(file: h5py.File) -> None:
        file[f"{DENSE}/1"][3] = value

    path = write(tmp_path / "model.keras", edited(saved, spoil))
    with pytest.raises(WorkError, match="has weights that are infinite or no numbers; restore"):
        vae.load(path)


def test_weights_that_are_no_hdf5_file_are_one_line(saved, tmp_path):
    contents = members(saved)
    for weights in (b"", b"text", contents[WEIGHTS][:-100], contents[WEIGHTS][:700]):
        path = write(tmp_path / "model.keras", contents | {WEIGHTS: weights})
        with pytest.raises(WorkError, match="its weights are damaged"):
            vae.load(path)


def test_a_remote_model_is_loaded(model, saved, object_store):
    object_store.objects["bucket/model.keras"] = saved
    loaded = vae.load("s3://bucket/model.keras")
    for weight, expected in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)
