"""What the door says of each thing that can become of a delivery."""

import json

import pytest

from services.ingest import answers
from services.ingest.committer import Outcome, Result
from services.ingest.mapping import Reason
from shared.errors import DatabaseUnavailable, DeadlineExceeded, HooklineError, IngestQueueFull, InternalError

REJECTED = {
    Reason.PAYLOAD_EMPTY: 400,
    Reason.PAYLOAD_TOO_LARGE: 413,
    Reason.NAME_MALFORMED: 400,
    Reason.SIGNATURE_MISSING: 401,
    Reason.SIGNATURE_WRONG: 401,
    Reason.SIGNATURE_TOO_OLD: 401,
    Reason.HEADERS_TOO_LARGE: 431,
}


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_has_a_status(reason: Reason) -> None:
    outcome = Outcome.REJECTED if reason in REJECTED else Outcome.QUARANTINED
    quarantine_id = "" if outcome is Outcome.REJECTED else "0198"
    said = answers.of_result(Result(outcome, quarantine_id=quarantine_id, reason=reason, message="why"))
    assert said.status == REJECTED.get(reason, 202)
    content = {"outcome": outcome.name.lower(), "reason": reason.lower(), "message": "why"}
    assert json.loads(said.body) == content | ({"quarantine_id": quarantine_id} if quarantine_id else {})
    assert (b"www-authenticate" in said.head) == (said.status == 401)
    assert f"content-length: {len(said.body)}\r\n".encode() in said.head


def test_what_is_stored_is_told_by_its_id_and_number() -> None:
    for outcome, sequence in ((Outcome.ACCEPTED, 7), (Outcome.DUPLICATE, 7), (Outcome.DUPLICATE, 0)):
        said = answers.of_result(Result(outcome, event_id="0198", sequence=sequence))
        content = {"outcome": outcome.name.lower(), "event_id": "0198", "sequence": sequence}
        assert said.status == 200
        # A number of 0 is none: the first event has been removed since.
        assert json.loads(said.body) == {name: value for name, value in content.items() if value}


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (DatabaseUnavailable(), 503, b"1"),
        (DeadlineExceeded("late"), 503, b"1"),
        (IngestQueueFull(0.5), 503, b"1"),
        (IngestQueueFull(2.5), 503, b"3"),
        (InternalError("id-1"), 500, None),
    ],
)
def test_an_error_says_whether_to_try_again_and_when(
    error: HooklineError, status: int, retry_after: bytes | None
) -> None:
    said = answers.of_error(error, "id-1")
    assert said.status == status
    assert json.loads(said.body)["outcome"] == "unavailable"
    assert b"x-request-id: id-1\r\n" in said.head
    assert (retry_after is None) == (b"retry-after" not in said.head)
    assert retry_after is None or b"retry-after: " + retry_after + b"\r\n" in said.head
