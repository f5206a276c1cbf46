"""The auditor's own parser reads what the product writes, and refuses what no reader accepts."""

import zlib
from typing import Any

import pytest

from poste_restante.item import encode_bundle
from poste_restante.position import BundleKey, LogId, mailbox_key, progress_key
from tests.audit import keys
from tests.audit.auditor import not_durable
from tests.audit.journal import Outgoing, Produced
from tests.audit.keys import Log, Mailbox, parse_bundle, parse_cursor
from tests.audit.log import dead_letter, log_record
from tests.records import TOPIC, message
from tests.unit.audit_history import LOG, History

LOGS = (Log(1, 3), Log(2, 11))


def _item(*offsets: int) -> dict[str, Any]:
    return dict(encode_bundle([message(o, body=b"%d" % o) for o in offsets], TOPIC))


def test_a_bundle_is_read() -> None:
    """Its key and what it holds (docs/format.md)."""
    bundle = parse_bundle(_item(4, 5, 9))
    assert bundle is not None

    assert (bundle.first, bundle.last) == (4, 9)
    assert bundle.bodies == {o: zlib.crc32(b"%d" % o) for o in (4, 5, 9)}


@pytest.mark.parametrize(
    "position",
    [
        BundleKey(1, 3, 3, 4).encode(),
        BundleKey(1, 3, 9, 5).encode(),  # holds something else
        "0001.00003.9.4",
        "nonsense",
    ],
)
def test_what_no_reader_accepts_is_not_read(position: str) -> None:
    """A bundle that breaks the format hides what it holds (G2)."""
    mailbox = Mailbox()
    mailbox.add([{**_item(4, 9), "position": {"S": position}}])

    assert mailbox.unreadable == [position]


def test_a_bundle_across_a_window_border_is_not_read() -> None:
    """Though it holds what its key says (docs/format.md)."""
    within, across = [_item(9_998, 9_999), _item(9_998, 9_999)]
    across["position"] = {"S": BundleKey(1, 3, 10_000, 9_998).encode()}
    across["messages"]["L"][1]["M"]["o"] = {"N": "10000"}

    assert parse_bundle(within) is not None
    assert parse_bundle(across) is None


def test_another_version_is_not_read() -> None:
    """Nor an item of another format version."""
    assert parse_bundle({**_item(4), "v": {"N": "2"}}) is None


def test_a_cursor_is_read() -> None:
    """One attribute per log; others are ignored."""
    item = {
        "position": {"S": "!"},
        "user_id": {"S": "1234.12345"},
        LogId(1, 3).encode(): {"N": "42"},
        "v": {"N": "1"},
    }
    assert parse_cursor(item) == {Log(1, 3): 42}


@pytest.mark.parametrize("user", ["bob", "!bob", "!!", "büb"])
def test_keys_are_the_product_s(user: str) -> None:
    """The same partition keys, found independently."""
    assert keys.mailbox_key(user) == mailbox_key(user)
    assert keys.progress_key(TOPIC, 7) == progress_key(TOPIC, 7)
    assert keys.sort_key_from(LOGS[0], 10) < BundleKey(1, 3, 10, 10).encode()
    assert keys.sort_key_from(LOGS[0], 10) > BundleKey(1, 3, 9, 0).encode()
    assert BundleKey(1, 3, 2**63 - 1, 2**63 - 1).encode() < keys.sort_key_end(LOGS[0])
    assert keys.sort_key_end(LOGS[0]) < BundleKey(1, 4, 0, 0).encode()


def test_what_is_committed_is_in_a_bundle_acknowledged_or_dead() -> None:
    """Anything else was committed past what is durable (G1)."""
    history = History()
    history.log("bob", 0, 1, 2, 3)
    history.die(3, "rejected_by_store")
    mailbox = Mailbox(cursor={LOG: 0})
    assert not_durable(history.truth, mailbox, LOG, [0, 1, 2, 3]) == [1, 2]
    mailbox.bundles = [keys.Bundle(LOG, 1, 2, {1: 0, 2: 0})]
    assert not_durable(history.truth, mailbox, LOG, [0, 1, 2, 3]) == []
    mailbox.bundles = [keys.Bundle(Log(2, 0), 1, 2, {1: 0, 2: 0})]
    assert not_durable(history.truth, mailbox, LOG, [0, 1, 2, 3]) == [1, 2]


def test_a_record_is_known_again_in_the_log() -> None:
    """By its header, whatever else it carries; the producer said whether it is bad (G9)."""
    sent = Produced(7, Outgoing(key=b"bob", value=b"x", dead="malformed_cloudevent"))
    record = log_record(b"bob", b"x", [("a", None), ("audit", b"7")], 1, {7: sent})
    assert (record.number, record.user, record.dead) == (7, "bob", "malformed_cloudevent")
    assert log_record(b"bob", b"x", [("audit", b"8")], 1, {7: sent}).number is None


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (None, b"x", "no_user_id"), (b"", b"x", "no_user_id"),
        (b"x" * 1025, b"x", "user_id_too_long"),
        (b"\xff", b"x", "user_id_not_utf8"), (b"bob", None, "no_body"), (b"bob", b"", None),
    ],
)  # fmt: skip
def test_a_record_of_nobody_s_is_judged_by_the_format(
    key: bytes | None, value: bytes | None, reason: str | None
) -> None:
    """Where no audited producer has said what becomes of it (G9)."""
    assert log_record(key, value, [], 1, {}).dead == reason


def test_resends_have_an_identity_and_plain_records_none() -> None:
    """Source, id and body (G5)."""
    headers = [("ce_id", b"1"), ("ce_source", b"s")]
    first, again = (log_record(b"bob", b"x", headers, at, {}) for at in (1, 2))
    assert first.identity == again.identity
    assert first.identity != log_record(b"bob", b"y", headers, 1, {}).identity
    assert log_record(b"bob", b"x", headers[:1], 1, {}).identity is None


def test_a_dead_letter_says_where_it_stood_and_is_a_copy() -> None:
    """Its own headers first, then the five of the worker (docs/format.md)."""
    own = [("audit", b"7"), ("a", None)]
    added = [
        ("dead-letter-reason", b"no_body"), ("dead-letter-detail", b""),
        ("dead-letter-topic", b"t"), ("dead-letter-partition", b"3"),
        ("dead-letter-offset", b"42"),
    ]  # fmt: skip
    place, letter = dead_letter(b"bob", None, [*own, *added], 5)
    assert place == (3, 42)
    assert letter.reason == "no_body"
    assert letter.copy == log_record(b"bob", None, own, 5, {}).copy
    assert letter.copy != log_record(b"bob", None, own[:1], 5, {}).copy
    assert dead_letter(b"bob", None, own, 5)[0] is None
