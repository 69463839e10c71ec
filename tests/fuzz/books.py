"""What callers were told, and what of it PostgreSQL holds."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from hookline.ingest.v1 import ingest_service_pb2 as pb
from shared.db import Connection
from shared.platforms import platforms
from tests.fuzz.cases import CANARY
from tests.samples import ACCEPTED, DUPLICATE, QUARANTINED, REJECTED, outcomes

COMPANY = "fuzz"
# The names of members that some platform's mapping removes.
_SECRETS = {path.rpartition(".")[2] for platform in platforms().values() for path in platform.secrets}


@dataclass(frozen=True)
class Told:
    """What was said of one body; None where what was sent is not simply one body."""

    body: bytes | None
    result: pb.IngestResult
    what: str
    """How it was made and sent."""


@dataclass
class Books:
    """Of one run: all that was said, `outcomes` and `statuses` counted, and `problems`: what must never be."""

    outcomes: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    found: int = 0
    """Events and quarantined bodies acknowledged, and found stored."""
    _told: list[Told] = field(default_factory=list)

    def note(self, told: Told) -> None:
        result = told.result
        self.outcomes.update(outcomes([result]))
        is_stored, is_aside = result.outcome in (ACCEPTED, DUPLICATE), result.outcome == QUARANTINED
        makes_sense = (
            result.outcome in (ACCEPTED, DUPLICATE, QUARANTINED, REJECTED)
            and is_stored == bool(result.event_id) == (result.sequence > 0)
            and is_aside == bool(result.quarantine_id)
            and is_stored != bool(result.reason) == bool(result.message)
        )
        if not makes_sense or CANARY in result.message or len(result.message) > 300:
            self.problem(told.what, f"was answered with {result}")
        if result.outcome != REJECTED:
            self._told.append(told)

    def problem(self, what: str, happened: str) -> None:
        self.problems.append(f"{what}: {happened[:1000]}")

    async def check_stored(self, connection: Connection) -> None:
        """Looks for everything acknowledged since the last time."""
        told, self._told = self._told, []
        await self._check_events(connection, [one for one in told if one.result.event_id])
        await self._check_quarantine(connection, [one for one in told if one.result.quarantine_id])

    async def _check_events(self, connection: Connection, told: Iterable[Told]) -> None:
        rows = await connection.fetch(
            "SELECT event_id::text, sequence, payload::text FROM hookline.events"
            " WHERE company_id = $1 AND event_id = ANY ($2)",
            COMPANY,
            list({one.result.event_id for one in told}),
        )
        stored = {row["event_id"]: row for row in rows}
        for one in told:
            row = stored.get(one.result.event_id)
            if row is None or row["sequence"] != one.result.sequence:
                self.problem(one.what, f"is not stored as said: {one.result}")
                continue
            self.found += 1
            if one.body is not None and one.result.outcome == ACCEPTED:
                differing = _differing(_content(one.body), _content(row["payload"].encode()))
                if differing:
                    self.problem(one.what, f"is stored with another content: {differing}")

    async def _check_quarantine(self, connection: Connection, told: Iterable[Told]) -> None:
        rows = await connection.fetch(
            "SELECT quarantine_id::text, payload, reason FROM hookline.quarantine"
            " WHERE company_id = $1 AND quarantine_id = ANY ($2)",
            COMPANY,
            list({one.result.quarantine_id for one in told}),
        )
        stored = {row["quarantine_id"]: row for row in rows}
        for one in told:
            row = stored.get(one.result.quarantine_id)
            if row is None:
                self.problem(one.what, f"is not in quarantine: {one.result}")
                continue
            self.found += 1
            if one.body is None or row["payload"] == one.body:
                continue
            # Without a secret that was in it: then it is written anew.
            try:
                differing = _differing(_content(one.body), _content(row["payload"]))
            except (ValueError, RecursionError):
                differing = "no JSON"
            if differing:
                self.problem(one.what, f"lies in quarantine with other bytes: {differing}")


def _content(body: bytes) -> Any:
    return json.loads(body.decode(), parse_float=Decimal, parse_int=Decimal)


def _differing(sent: Any, stored: Any, path: str = "") -> str:
    """Where two contents differ, secrets that were removed apart; empty when they don't."""
    if isinstance(sent, dict) and isinstance(stored, dict):
        if wrong := (stored.keys() - sent.keys()) | (sent.keys() - stored.keys() - _SECRETS):
            return f"{path}: {wrong} came or went"
        for name, value in stored.items():
            if differing := _differing(sent[name], value, f"{path}.{name[:50]}"):
                return differing
        return ""
    if isinstance(sent, list) and isinstance(stored, list) and len(sent) == len(stored):
        for position, (one, other) in enumerate(zip(sent, stored, strict=True)):
            if differing := _differing(one, other, f"{path}.{position}"):
                return differing
        return ""
    return "" if type(sent) is type(stored) and sent == stored else f"{path}: {str(sent)[:100]} and {str(stored)[:100]}"
