import json

import numpy as np
import pytest

from components.base.errors import WorkError
from components.data.examples import hash_ids
from components.ingest.ledger import InputTally, reconcile
from components.ingest.rejection import Reason

NAMES = ["cat", "dog"]


def tally(*inputs: tuple[str, int | None], reason: str | None = None) -> InputTally:
    """The tally of inputs, given as (id, label)."""
    result = InputTally()
    ids, labels = [each[0] for each in inputs], [each[1] for each in inputs]
    result.add(hash_ids(ids), labels, reason=reason)
    return result


A, B, C, D = ("a", 0), ("b", 1), ("c", 0), ("d", None)


def check(inputs: InputTally, kept: InputTally, quarantined: InputTally) -> dict:
    """The ledger of one split."""
    tallies = ({"train": each} for each in (inputs, kept, quarantined))
    return reconcile(*tallies, class_names=NAMES)["train"]


def test_a_tally_counts_labels_and_reasons():
    counted = tally(A, B, C, D, reason=Reason.EMPTY)
    assert counted.total == 4
    assert counted.by_label == {0: 2, 1: 1, None: 1}
    assert counted.by_reason == {"empty": 4}
    assert counted.checksum == sum(hash_ids("abcd").tolist()) % 2**64
    assert InputTally().total == InputTally().checksum == 0


def test_the_checksum_wraps_at_64_bits():
    counted = InputTally()
    for _ in range(3):
        counted.add(np.array([2**64 - 1, 2**63], np.uint64), [0, 0])
    assert counted.checksum == 3 * (2**64 - 1 + 2**63) % 2**64


def test_tallies_of_parts_add_up_in_any_order():
    total = tally(A, B, C, D)
    for parts in ([A], [B, C], [D]), ([D], [C, A], [B]), ([], [A, B, C, D]):
        assert sum((tally(*part) for part in parts), InputTally()) == total
    both = tally(A, reason="empty") + tally(B, C, reason="too_large")
    assert both.by_reason == {"empty": 1, "too_large": 2}
    assert both.total == 3


def test_addition_does_not_change_its_operands():
    one, other = tally(A), tally(B)
    assert (one + other).total == 2
    assert one == tally(A)
    assert other == tally(B)


def test_a_tally_survives_json():
    for counted in (tally(A, B, C, D, reason=Reason.BAD_LABEL), tally(A), InputTally()):
        restored = InputTally.from_json(json.loads(json.dumps(counted.as_json())))
        assert restored == counted
        assert restored + tally(B) == counted + tally(B)


def test_the_ledger_counts_classes_and_reasons():
    rejected = tally(C, reason=Reason.TOO_LARGE) + tally(D, reason=Reason.EMPTY)
    assert check(tally(A, B, C, D), tally(A, B), rejected) == {
        "inputs": 4,
        "kept": 2,
        "quarantined": 2,
        "reasons": {"empty": 1, "too_large": 1},
        "classes": {
            "cat": {"inputs": 2, "kept": 1, "quarantined": 1},
            "dog": {"inputs": 1, "kept": 1, "quarantined": 0},
            "unknown": {"inputs": 1, "kept": 0, "quarantined": 1},
        },
    }
    assert list(check(tally(D, B, A), tally(B, A), tally(D))["classes"]) == [
        "cat",
        "dog",
        "unknown",
    ]


def test_the_ledger_consists_of_json_values():
    ledger = check(tally(A, D), tally(A), tally(D, reason=Reason.EMPTY))
    assert json.loads(json.dumps(ledger)) == ledger


def test_each_split_has_a_ledger():
    inputs = {"train": tally(A, B), "test": tally(C)}
    kept = {"train": tally(A, B), "test": InputTally()}
    quarantined = {"train": InputTally(), "test": tally(C, reason="empty")}
    ledger = reconcile(inputs, kept, quarantined, class_names=NAMES)
    assert [(split, part["kept"]) for split, part in ledger.items()] == [("train", 2), ("test", 0)]
    swapped = {"train": inputs["test"], "test": inputs["train"]}
    with pytest.raises(WorkError, match="ledger of train does not add up: 1 input, 2 kept"):
        reconcile(swapped, kept, quarantined, class_names=NAMES)


@pytest.mark.parametrize(
    ("kept", "quarantined"),
    [
        (tally(A, B), InputTally()),  # c is missing
        (tally(A, B, C, C), InputTally()),  # c is kept twice
        (tally(A, B, C), tally(C)),  # c is both
        (tally(A, B, A), InputTally()),  # a takes the place of c, with the same label
        (tally(A, B, ("e", 0)), InputTally()),  # an unknown input takes the place of c
        (tally(A, B, ("c", 1)), InputTally()),  # c has another label
        (tally(A, B), tally(("c", None))),
        (tally(A, B, C), tally(D)),
        (InputTally(), InputTally()),
    ],
)
def test_a_ledger_that_does_not_add_up_is_an_error(kept, quarantined):
    check(tally(A, B, C), tally(A, B, C), InputTally())
    with pytest.raises(WorkError, match="the ledger of train does not add up: 3 inputs"):
        check(tally(A, B, C), kept, quarantined)
