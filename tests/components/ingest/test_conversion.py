import dataclasses
import json
import subprocess
import sys

import pytest

from components.ingest.conversion import AS_IS, Conversion


@pytest.mark.parametrize(
    ("conversion", "settings"),
    [
        (Conversion(), {"image_size": None, "channels": None}),
        (Conversion((28, 32)), {"image_size": [28, 32], "channels": None}),
        (Conversion(channels=1), {"image_size": None, "channels": 1}),
        (Conversion((1, 2), 3), {"image_size": [1, 2], "channels": 3}),
        (
            Conversion(None, 1, "white"),
            {"image_size": None, "channels": 1, "background": "white"},
        ),
    ],
)
def test_the_settings_in_the_manifest(conversion, settings):
    # Equal to its own JSON: the manifest's settings are compared with those of a new call.
    assert conversion.as_json() == settings
    assert json.loads(json.dumps(conversion.as_json())) == settings


def test_the_default_keeps_size_and_channels():
    assert Conversion() == AS_IS
    assert (AS_IS.image_size, AS_IS.channels) == (None, None)


def test_it_is_immutable_and_hashable():
    assert len({Conversion((28, 28), 1), Conversion((28, 28), 1), AS_IS}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        AS_IS.channels = 3


def test_importing_it_loads_neither_numpy_nor_pillow():
    code = "import sys, components.ingest.conversion; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "PIL"} & set(ran.stdout.split())
