import subprocess
import sys

import pytest

from components.base.registry import Registry

CHOICES = Registry(root="math:sqrt", base="math:e")


def test_a_registry_maps_names_to_objects():
    assert list(CHOICES) == ["root", "base"]
    assert len(CHOICES) == 2
    assert CHOICES["root"](4) == 2
    assert "cube" not in CHOICES
    with pytest.raises(KeyError):
        CHOICES["cube"]


def test_modules_are_imported_on_access_only():
    program = (
        "import sys; from components.base.registry import Registry; "
        "assert 'colorsys' not in sys.modules; choices = Registry(hsv='colorsys:rgb_to_hsv'); "
        "list(choices); 'hsv' in choices; assert 'colorsys' not in sys.modules; "
        "choices['hsv']; assert 'colorsys' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
