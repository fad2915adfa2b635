import json
import os
import subprocess
import sys

import pytest

from components.base import tensorflow_setup
from components.base.errors import ConfigError


def test_tensorflow_is_loaded_silently_and_without_tf32():
    script = (
        "from components.base import tensorflow_setup; tensorflow_setup.load(); "
        "import tensorflow as tf; tf.constant(1); "
        "assert not tf.config.experimental.tensor_float_32_execution_enabled()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_settings_of_keras_are_ignored(tmp_path):
    settings = {"floatx": "float16", "backend": "jax", "image_data_format": "channels_first"}
    (tmp_path / "keras.json").write_text(json.dumps(settings | {"epsilon": 0.1}))
    script = (
        "from components.base import tensorflow_setup; tensorflow_setup.load(); import keras; "
        "print(keras.backend.backend(), keras.config.floatx(), keras.config.image_data_format(), "
        "keras.config.epsilon(), keras.config.dtype_policy().name)"
    )
    environment = os.environ | {"KERAS_HOME": str(tmp_path), "KERAS_BACKEND": "torch"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment
    )
    expected = "tensorflow float32 channels_last 1e-07 float32\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")


def test_keras_on_another_backend_is_rejected(monkeypatch):
    import keras

    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ConfigError, match="Keras runs on jax in this process; set KERAS_BACKEND="):
        tensorflow_setup.load()
