"""The programs in the documentation of the Python interface run."""

import inspect
import re

import numpy as np
import pytest

import trainer
from components.api.trained_vae import TrainedVAE
from components.sources.garments import draw_garments
from tests.conftest import ROOT
from trainer.fitting import fit

PYTHON = ROOT / "docs" / "python.md"
# The programs of a page are run with these settings, which take seconds.
QUICK = {"epochs": 1, "widths": (16,)}


def programs(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)


@pytest.mark.parametrize("page", ["README.md", "docs/package.md", "docs/python.md"])
def test_the_programs_of_a_page_run(page, model_dir, tmp_path, monkeypatch):
    blocks = programs((ROOT / page).read_text())
    assert blocks
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    (tmp_path / "runs" / "demo" / "model").symlink_to(model_dir)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(vars(trainer), "fit", lambda *args, **named: fit(*args, **named | QUICK))
    labels = np.arange(60) % 10
    images = draw_garments(labels, np.random.default_rng(0))
    exec("\n".join(blocks), {"images": images, "labels": labels, "held_out": images[:20]})


def test_the_error_in_the_example_is_the_one_that_is_raised(model_dir, capsys):
    *_, program = programs(PYTHON.read_text())
    (expected,) = re.findall(r"print\(error\)\n +# (.*)", program)
    vae = TrainedVAE.load(model_dir)
    exec(program, {"vae": vae, "images": np.zeros((1, 28, 28, 1))})
    assert capsys.readouterr().out == f"{expected}\n"


def test_the_table_has_all_methods_with_their_parameters():
    rows = re.findall(r"^\| `(\w+)\((.*?)\)` \|", PYTHON.read_text(), re.M)
    methods = {
        name: method
        for name, method in vars(TrainedVAE).items()
        if inspect.isfunction(method) and not name.startswith("_")
    }
    assert {name for name, _ in rows} == methods.keys() - {"load"}
    for name, parameters in rows:
        found = [parameter.partition("=")[0] for parameter in parameters.split(", ")]
        _, *expected = inspect.signature(methods[name]).parameters
        assert found == expected, name


def test_the_parameters_of_fit_are_explained():
    text = PYTHON.read_text()
    for name in inspect.signature(fit).parameters:
        assert name == "overrides" or re.search(rf"\b{name}\b", text), name
