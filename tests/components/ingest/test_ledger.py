import json

import numpy as np
import pytest

from components.base.errors import WorkError
from components.data.examples import hash_ids
from components.ingest.ledger import Account, Reason, Rejected, reconcile

NAMES = ["cat", "dog"]


def account(*inputs: tuple[str, int | None], reason: str | None = None) -> Account:
    """The account of inputs, (id, label) each."""
    counted = Account()
    ids, labels = [each[0] for each in inputs], [each[1] for each in inputs]
    counted.add(hash_ids(ids), labels, reason=reason)
    return counted


A, B, C, D = ("a", 0), ("b", 1), ("c", 0), ("d", None)


def check(inputs: Account, kept: Account, quarantined: Account) -> dict:
    accounts = ({"train": each} for each in (inputs, kept, quarantined))
    return reconcile(*accounts, class_names=NAMES)["train"]


def test_an_account_counts_and_sums_up():
    counted = account(A, B, C, D, reason=Reason.EMPTY)
    assert counted.total == 4
    assert counted.by_label == {0: 2, 1: 1, None: 1}
    assert counted.by_reason == {"empty": 4}
    assert counted.checksum == sum(hash_ids("abcd").tolist()) % 2**64
    assert Account().total == Account().checksum == 0


def test_the_checksum_wraps_at_64_bits():
    counted = Account()
    for _ in range(3):
        counted.add(np.array([2**64 - 1, 2**63], np.uint64), [0, 0])
    assert counted.checksum == 3 * (2**64 - 1 + 2**63) % 2**64


def test_what_was_counted_apart_adds_up_in_any_order():
    whole = account(A, B, C, D)
    for parts in ([A], [B, C], [D]), ([D], [C, A], [B]), ([], [A, B, C, D]):
        assert sum((account(*part) for part in parts), Account()) == whole
    both = account(A, reason="empty") + account(B, C, reason="too_large")
    assert both.by_reason == {"empty": 1, "too_large": 2}
    assert both.total == 3


def test_adding_leaves_the_parts_as_they_were():
    one, other = account(A), account(B)
    assert (one + other).total == 2
    assert one == account(A)
    assert other == account(B)


def test_an_account_goes_through_json():
    for counted in (account(A, B, C, D, reason=Reason.BAD_LABEL), account(A), Account()):
        again = Account.from_json(json.loads(json.dumps(counted.as_json())))
        assert again == counted
        assert again + account(B) == counted + account(B)


def test_the_ledger_of_every_class_and_reason():
    rejected = account(C, reason=Reason.TOO_LARGE) + account(D, reason=Reason.EMPTY)
    assert check(account(A, B, C, D), account(A, B), rejected) == {
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
    assert list(check(account(D, B, A), account(B, A), account(D))["classes"]) == [
        "cat",
        "dog",
        "unknown",
    ]


def test_the_ledger_goes_into_the_manifest():
    ledger = check(account(A, D), account(A), account(D, reason=Reason.EMPTY))
    assert json.loads(json.dumps(ledger)) == ledger


def test_every_split_has_its_own():
    inputs = {"train": account(A, B), "test": account(C)}
    kept = {"train": account(A, B), "test": Account()}
    quarantined = {"train": Account(), "test": account(C, reason="empty")}
    ledger = reconcile(inputs, kept, quarantined, class_names=NAMES)
    assert [(split, part["kept"]) for split, part in ledger.items()] == [("train", 2), ("test", 0)]
    swapped = {"train": inputs["test"], "test": inputs["train"]}
    with pytest.raises(WorkError, match="ledger of train does not add up: 1 inputs, 2 kept"):
        reconcile(swapped, kept, quarantined, class_names=NAMES)


@pytest.mark.parametrize(
    ("kept", "quarantined"),
    [
        (account(A, B), Account()),  # c is lost
        (account(A, B, C, C), Account()),  # c is there twice
        (account(A, B, C), account(C)),  # c is both
        (account(A, B, A), Account()),  # a stands in the place of c, with the same label
        (account(A, B, ("e", 0)), Account()),  # another does
        (account(A, B, ("c", 1)), Account()),  # c has another label
        (account(A, B), account(("c", None))),
        (account(A, B, C), account(D)),
        (Account(), Account()),
    ],
)
def test_a_ledger_that_does_not_add_up_is_an_error(kept, quarantined):
    check(account(A, B, C), account(A, B, C), Account())
    with pytest.raises(WorkError, match="the ledger of train does not add up: 3 inputs"):
        check(account(A, B, C), kept, quarantined)


def test_reasons_are_plain_texts_in_json():
    rejected = Rejected("a", "train", None, Reason.EMPTY, "no bytes")
    assert json.loads(json.dumps(vars(rejected))) == {
        "id": "a",
        "split": "train",
        "label": None,
        "reason": "empty",
        "detail": "no bytes",
    }
