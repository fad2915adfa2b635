import subprocess
import sys


def test_tensorflow_is_loaded_silently_and_without_tf32():
    script = (
        "from components.base import tensorflow_setup; tensorflow_setup.load(); "
        "import tensorflow as tf; tf.constant(1); "
        "assert not tf.config.experimental.tensor_float_32_execution_enabled()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
