import json

from components.ingest.rejection import Reason, Rejected, UnusableError


def test_reasons_are_strings_in_json():
    rejected = Rejected("a", "train", None, Reason.EMPTY, "no bytes")
    assert json.loads(json.dumps(vars(rejected))) == {
        "id": "a",
        "split": "train",
        "label": None,
        "reason": "empty",
        "detail": "no bytes",
    }


def test_an_unusable_input_has_a_reason_and_a_message():
    error = UnusableError(Reason.TOO_LARGE, "9 bytes; the limit is 8")
    assert isinstance(error, ValueError)
    assert (error.reason, str(error)) == ("too_large", "9 bytes; the limit is 8")
