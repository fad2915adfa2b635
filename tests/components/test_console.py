import subprocess
import sys

from components import console


def test_messages_go_to_standard_error(capsys):
    console.say("working")
    console.warn("look here")
    assert capsys.readouterr() == ("", "working\nwarning: look here\n")


def test_tensorflow_loads_without_a_word():
    script = (
        "from components import console; console.load_tensorflow(); "
        "import tensorflow as tf; tf.constant(1); "
        "assert not tf.config.experimental.tensor_float_32_execution_enabled()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
