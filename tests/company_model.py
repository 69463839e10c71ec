"""What must come of calls in any order, at once, or cut short: a plain model of one company, held against what callers
were told and against all that is stored."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from hookline.ingest.v1 import ingest_service_pb2 as pb
from shared.db import Connection
from tests.samples import ACCEPTED, DUPLICATE, QUARANTINED, REJECTED, grapfy

PLATFORM = "grapfy"
Place = tuple[str, str]
"""A source and a dedup key."""
Status = tuple[str, str | None]
ODD = {
    "no JSON": b"{",
    "a list": b"[1]",
    "no type": b'{"a":1}',
    "a total that is none": grapfy("k1", total="R$"),
}
PENDING: Status = ("pending", None)
MARKED = pb.MarkEventsResponse.MARK_OUTCOME_MARKED
UNCHANGED = pb.MarkEventsResponse.MARK_OUTCOME_UNCHANGED
NOT_FOUND = pb.MarkEventsResponse.MARK_OUTCOME_NOT_FOUND


@dataclass(frozen=True)
class Good:
    """An event that is understood. The same source and key with another total contradicts the first."""

    source: str
    key: str
    total: int

    @property
    def place(self) -> Place:
        return self.source, self.key

    @property
    def payload(self) -> bytes:
        return grapfy(self.key, total=self.total)


@dataclass(frozen=True)
class Odd:
    """One that is not, and is set aside: one of ODD."""

    source: str
    name: str

    @property
    def payload(self) -> bytes:
        return ODD[self.name]


@dataclass(frozen=True)
class Late:
    """One of a platform that is not known before the company has put MAPPING: set aside till then."""

    source: str
    key: str
    total: int

    @property
    def place(self) -> Place:
        return self.source, self.key

    @property
    def payload(self) -> bytes:
        return b'{"late": {"nr": "%b"}, "what": "order_approved", "total": %d}' % (self.key.encode(), self.total)


LATE = "late"
MAPPING = f"""
name = "{LATE}"
title = "Late"
[fields]
type = ["what"]
dedup_key = [["late.nr"]]
total = ["total"]
"""


@dataclass(frozen=True)
class Wrong:
    """One that is not taken at all."""

    source: str
    payload: bytes


Sent = Good | Odd | Late | Wrong


@dataclass(frozen=True)
class Attempt:
    """An event sent, or tried again from the quarantine, and what its caller was told. No result: the call failed, and
    any of it may be stored."""

    sent: Sent
    request: int
    """Those of one request are numbered in its order."""
    result: pb.IngestResult | None
    tells_differs: bool = True
    """The door does not say whether a duplicate's payload differs."""
    is_retry: bool = False


@dataclass(frozen=True)
class MarkAttempt:
    """A mark sent, and its outcome. `event_id` is what it named."""

    place: Place
    event_id: str
    status: Status
    outcome: "pb.MarkEventsResponse.MarkOutcome.ValueType | None"


@dataclass
class _Times:
    """How often something has come: `least` as callers were told, `most` as they tried."""

    least: int = 0
    most: int = 0

    def add(self, attempt: Attempt) -> None:
        self.least += attempt.result is not None
        self.most += 1


@dataclass
class Model:
    """One company. `check` takes what has happened since the last time, `check_stored` looks into the database."""

    company: str
    events: dict[Place, tuple[str, int, int]] = field(default_factory=dict)
    """Event id, sequence and total of what lies at each place."""
    knows_late: bool = False
    """Whether MAPPING is in force."""
    _conflicts: dict[Good | Late, _Times] = field(default_factory=lambda: defaultdict(_Times))
    _quarantined: dict[Odd | Late, _Times] = field(default_factory=lambda: defaultdict(_Times))
    _quarantine_ids: dict[Odd | Late, str] = field(default_factory=dict)
    _statuses: dict[Place, set[Status]] = field(default_factory=dict)
    """Those that an event may have: one, unless marks were under way together."""
    _changes: int = 0
    """How many changes of status there are."""
    _changes_known: bool = True
    """Not after marks under way together: two of the same may both be noted."""

    def id_of(self, place: Place) -> str | None:
        return self.events[place][0] if place in self.events else None

    @property
    def waiting(self) -> list[tuple[str, Late]]:
        """What is set aside and could be understood some day, with its id, the oldest first."""
        return sorted((its_id, one) for one, its_id in self._quarantine_ids.items() if isinstance(one, Late))

    def leave(self, understood: Iterable[Late]) -> None:
        """They have been tried again, and are understood."""
        for one in understood:
            del self._quarantined[one], self._quarantine_ids[one]

    def check(self, attempts: Sequence[Attempt], *, alone: bool) -> None:
        """Holds the answers against each other and against what came before. Each event that was attempted must have
        been answered at least once. `alone`: the attempts were one request."""
        by_place: dict[Place, list[Attempt]] = defaultdict(list)
        for attempt in attempts:
            match attempt.sent:
                case Good():
                    by_place[attempt.sent.place].append(attempt)
                case Late() if self.knows_late:
                    by_place[attempt.sent.place].append(attempt)
                case Odd() | Late():
                    self._check_aside(attempt.sent, attempt)
                case Wrong():
                    assert attempt.result is None or attempt.result.outcome == REJECTED, attempt
        for place, tried in by_place.items():
            if place in self.events:
                again = [one for one in tried if one.result and one.result.outcome == ACCEPTED]
                assert not again, f"accepted though it is stored: {again}"
            else:
                first = self._settle(place, tried)
                assert first is tried[0] or not alone, f"the first in the request is not the first stored: {tried}"
            self._check_place(place, tried)
        # Dense: what is new has the numbers that follow.
        numbers = sorted(sequence for _, sequence, _ in self.events.values())
        assert numbers == list(range(1, len(numbers) + 1)), numbers
        _check_order(attempts)

    def check_marks(self, attempts: Sequence[MarkAttempt], *, alone: bool) -> None:
        """The same for marks."""
        after: dict[Place, set[Status]] = defaultdict(set)
        for attempt in attempts:
            if self.id_of(attempt.place) != attempt.event_id:
                assert attempt.outcome in (None, NOT_FOUND), attempt
                continue
            if alone:
                changes = self._statuses[attempt.place] != {attempt.status}
                assert attempt.outcome == (MARKED if changes else UNCHANGED), (attempt, self._statuses[attempt.place])
                self._changes += changes
            else:
                assert attempt.outcome in (None, MARKED, UNCHANGED), attempt
                self._changes_known = False
            after[attempt.place].add(attempt.status)
        self._statuses.update(after)

    def _settle(self, place: Place, tried: Sequence[Attempt]) -> Attempt:
        """Finds out which of the attempts is the one stored."""
        accepted = [one for one in tried if one.result and one.result.outcome == ACCEPTED]
        unanswered = {one.sent for one in tried if one.result is None}
        assert len(accepted) <= 1, f"accepted more than once: {accepted}"
        # Where none was said to be accepted, one of those was that got no answer: the one that nothing differs from.
        first = accepted or [
            one
            for one in tried
            if one.sent in unanswered and one.result and one.tells_differs and not one.result.payload_differs
        ]
        assert first, f"stored by none of those that came: {tried}"
        sent, result = first[0].sent, first[0].result
        assert isinstance(sent, Good | Late)
        assert result is not None
        self.events[place] = (result.event_id, result.sequence, sent.total)
        self._statuses[place] = {PENDING}
        return first[0]

    def _check_place(self, place: Place, tried: Iterable[Attempt]) -> None:
        event_id, sequence, total = self.events[place]
        for one in tried:
            assert isinstance(one.sent, Good | Late)
            differs = one.sent.total != total
            if one.result:
                assert one.result.outcome in (ACCEPTED, DUPLICATE), one
                assert (one.result.event_id, one.result.sequence) == (event_id, sequence), (one, self.events[place])
                assert one.result.payload_differs == differs or not one.tells_differs, (one, total)
            if differs:
                self._conflicts[one.sent].add(one)

    def _check_aside(self, sent: Odd | Late, attempt: Attempt) -> None:
        if not attempt.is_retry:
            self._quarantined[sent].add(attempt)
        if attempt.result:
            assert attempt.result.outcome == QUARANTINED, attempt
            known = self._quarantine_ids.setdefault(sent, attempt.result.quarantine_id)
            assert attempt.result.quarantine_id == known, attempt

    async def check_stored(self, connection: Connection) -> None:
        """Compares all that is stored of the company. Not while calls are under way."""
        rows = await connection.fetch(
            "SELECT source, dedup_key, event_id::text, sequence, total::int FROM hookline.events WHERE company_id = $1",
            self.company,
        )
        assert sorted(tuple(row) for row in rows) == sorted((*place, *lies) for place, lies in self.events.items())
        await self._check_conflicts(connection)
        await self._check_quarantine(connection)
        await self._check_statuses(connection)

    async def _check_conflicts(self, connection: Connection) -> None:
        rows = await connection.fetch(
            "SELECT source, dedup_key, payload, event_id::text, times_received FROM hookline.event_conflicts"
            " WHERE company_id = $1",
            self.company,
        )
        found = {tuple(row)[:3]: tuple(row)[3:] for row in rows}
        expected = {(*sent.place, sent.payload): (sent.place, times) for sent, times in self._conflicts.items()}
        assert found.keys() == expected.keys()
        for key, (place, times) in expected.items():
            event_id, received = found[key]
            assert event_id == self.id_of(place)
            assert times.least <= received <= times.most, (key, received, times)

    async def _check_quarantine(self, connection: Connection) -> None:
        rows = await connection.fetch(
            "SELECT source, payload, quarantine_id::text, times_received FROM hookline.quarantine"
            " WHERE company_id = $1",
            self.company,
        )
        assert sorted(tuple(row)[:2] for row in rows) == sorted((one.source, one.payload) for one in self._quarantined)
        found = {tuple(row)[:2]: tuple(row)[2:] for row in rows}
        for sent, times in self._quarantined.items():
            quarantine_id, received = found[sent.source, sent.payload]
            assert quarantine_id == self._quarantine_ids[sent]
            assert times.least <= received <= times.most, (sent, received, times)

    async def _check_statuses(self, connection: Connection) -> None:
        rows = await connection.fetch(
            """
            SELECT e.source, e.dedup_key, u.sequence IS NOT NULL AS pending,
                   (SELECT row(s.status::text, s.error) FROM hookline.event_status s
                    WHERE (s.company_id, s.sequence) = (e.company_id, e.sequence)
                    ORDER BY s.change DESC LIMIT 1) AS last
            FROM hookline.events e LEFT JOIN hookline.unprocessed u USING (company_id, sequence)
            WHERE company_id = $1
            """,
            self.company,
        )
        for row in rows:
            place = (row["source"], row["dedup_key"])
            status: Status = tuple(row["last"]) if row["last"] else PENDING
            assert status in self._statuses[place], (place, status, self._statuses[place])
            assert row["pending"] == (status == PENDING), (place, status)
            self._statuses[place] = {status}
        changes = await connection.fetch(
            "SELECT change FROM hookline.event_status WHERE company_id = $1 ORDER BY change", self.company
        )
        assert [row["change"] for row in changes] == list(range(1, len(changes) + 1))
        assert self._changes == len(changes) or not self._changes_known
        self._changes, self._changes_known = len(changes), True


def _check_order(attempts: Iterable[Attempt]) -> None:
    """What a request has brought is numbered in its order."""
    numbers: dict[int, list[int]] = defaultdict(list)
    for one in attempts:
        if one.result and one.result.outcome == ACCEPTED:
            numbers[one.request].append(one.result.sequence)
    assert all(inside == sorted(inside) for inside in numbers.values()), numbers
