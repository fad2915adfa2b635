import platform
import traceback

import pytest

from components.base.errors import ConfigError, Stopped, UserError, WorkError
from pipeline.beam import user_errors


def sent(error: Exception) -> Exception:
    """The exception that leaves a worker whose task raises an error."""
    with pytest.raises(Exception) as caught, user_errors.encoded():  # noqa: PT011 - any
        raise error
    return caught.value


@pytest.mark.parametrize("kind", [UserError, WorkError, ConfigError, Stopped])
@pytest.mark.parametrize("text", ["file x is damaged", "", ":user-error] ü \n 'quoted'"])
@pytest.mark.parametrize(
    "passed_on",
    [
        lambda error: error,
        lambda error: type(error)(f"{error} [while running 'ParDo(RunTasks)']"),
        lambda error: RuntimeError(f"Traceback:\n  File x\nCrossingError: {error}\n\nmore"),
    ],
    ids=["unchanged", "with_more_text", "as_a_traceback"],
)
def test_a_user_error_arrives_in_whatever_form_the_runner_passes_it_on(kind, text, passed_on):
    received = user_errors.decode(passed_on(sent(kind(text))))
    assert type(received) is kind
    assert str(received) == text


@pytest.mark.parametrize(
    "text",
    [
        "[user-error:notbase64:user-error]",
        "[user-error:",
        "[user-error:WyJhIl0=:user-error]",  # valid Base64 of JSON, but not of three texts
        "[user-error:WyJPdGhlciIsICJ4IiwgInkiXQ==:user-error]",  # an unknown type
    ],
)
def test_marks_in_a_message_are_not_mistaken_for_a_user_error(text):
    assert user_errors.decode(ValueError(text)) is None
    error = RuntimeError(f"caused by {text}\n{sent(WorkError(text))}")
    received = user_errors.decode(error)
    assert isinstance(received, WorkError)
    assert str(received) == text


def test_a_subclass_arrives_as_the_nearest_known_type():
    class SpecialError(ConfigError):
        pass

    assert type(user_errors.decode(sent(SpecialError("x")))) is ConfigError


def test_the_message_names_another_machine(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(platform, "node", lambda: "worker-7")
        error = sent(WorkError("no such file"))
    assert str(user_errors.decode(error)) == "no such file (on the worker worker-7)"


def test_a_very_long_message_is_shortened():
    received = str(user_errors.decode(sent(WorkError("x" * 1_000_000))))
    assert received == "x" * 10_000 + "…"


def test_the_cause_of_a_user_error_is_not_sent():
    text = "/tmp/\udcff is damaged"  # a file name that is not valid UTF-8
    error = sent(WorkError(text))
    "".join(traceback.format_exception(error)).encode()
    assert str(user_errors.decode(error)) == text


def test_a_file_error_becomes_a_user_error():
    error = FileNotFoundError(2, "No such file or directory", "x")
    received = user_errors.decode(sent(error))
    assert isinstance(received, WorkError)
    assert str(received).startswith("No such file or directory: x; ")


def test_other_errors_are_unchanged():
    error = ZeroDivisionError("division by zero")
    assert sent(error) is error
    assert user_errors.decode(error) is None


def test_call_explains_file_errors(tmp_path):
    assert user_errors.call(divmod, 7, 2) == (3, 1)
    with pytest.raises(WorkError, match="No such file or directory"):
        user_errors.call((tmp_path / "absent").read_text)
