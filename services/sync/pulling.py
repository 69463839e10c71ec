"""Reads a run's span, window after window and page after page, into ingest: its acknowledgement first, then the
checkpoint. See docs/sync-runs.md."""

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from hookline.client import AsyncClient
from services.sync import attempt_store, metrics, reconciling
from services.sync.attempt_store import Progress, Stored
from services.sync.connectors import Connector, Item, Larger, Page, TryLater, Window
from services.sync.connectors.http import MAX_BODY_BYTES
from services.sync.cursor import Cursor
from services.sync.holding import Fenced, Hold
from services.sync.room import Room
from services.sync.storing import store

PAGES_UNDER_WAY = 4
"""Pages of a run that ingest is storing at the same time: it commits them together."""
PAGES_BYTES = 128 * 1024 * 1024
"""Of the pages that a process has under way, from before they are asked for to their checkpoint. One that is not there
yet counts as what it may have. In memory a page is about twice as large."""
RUN_BYTES = 48 * 1024 * 1024
"""Of those of one run."""
SMALL_PAGE = 1024 * 1024
"""How much a page may have at first; after that, twice the largest so far."""
RETRIES = 60
"""Requests that an attempt may make again, and one more for every two pages that it reads."""


class _Fetched(msgspec.Struct, frozen=True):
    """A page and where it is. `said`: how many items the source says, by then, that the window has."""

    window: int
    page: Page
    said: int | None

    @property
    def is_checked(self) -> bool:
        """Whether it ends a window whose end has to be looked at, before anything of the next one is stored."""
        return self.page.position is None and (self.said is not None or self.page.more)


class Pull:
    """Reads one run for one attempt. `overspent` is done with an exception when too many requests were made again."""

    def __init__(
        self, hold: Hold, connector: Connector, ingest: AsyncClient, platform: str, history: str, room: Room
    ) -> None:
        claim = hold.claim
        self._hold = hold
        self._claim = claim
        self._connector = connector
        self._ingest = ingest
        self._platform = platform
        self._room = room
        self._own_room = Room(RUN_BYTES)
        self._largest = 0
        self._pages = claim.pages
        self._retries = 0
        self.overspent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        connector.on_retry = self._retried
        begun = Cursor.decode(claim.cursor) if claim.cursor else None
        if begun and not begun.is_of(history):
            hold.lines.add(
                "warning", "HISTORY_CHANGED", "Its source has been changed. All is read anew from the start."
            )
            begun = None
        now = begun.cut_time if begun else datetime.now(UTC)
        self._windows = connector.windows(claim.start_time, claim.until_time, now) or [
            Window(claim.start_time, claim.until_time)
        ]
        new = Cursor(now, self._windows[0].start, pages_before=claim.pages)
        self._cursor = msgspec.structs.replace(self._found(begun) if begun else new, history=history)

    @property
    def lacking(self) -> str | None:
        """What the source says it has and did not give, for a person to read. None: nothing is known to lack."""
        return self._cursor.lacking

    @property
    def lacking_since(self) -> datetime | None:
        """From where on that may lack."""
        return self._cursor.lacking_since

    @property
    def newest(self) -> datetime | None:
        """The time of the newest item seen."""
        return self._cursor.newest

    async def pull(self) -> None:
        """Reads to the end. Raises what the connector and ingest raise; Fenced when the run was lost."""
        index = self._index
        window = self._windows[index]
        noted = await self._hold.while_held(
            lambda connection: attempt_store.note_windows(
                connection,
                self._claim,
                len(self._windows),
                len(self._windows) if self._cursor.done else index,
                window.start,
                window.until,
            )
        )
        if not noted:
            raise Fenced
        # Once, and from a window's start again where it turns out to lack something.
        while not self._cursor.done:
            await self._pull_on()

    def _found(self, begun: Cursor) -> Cursor:
        """The cursor, in the windows as they are now: a platform's description may have changed since."""
        starts = [window.start for window in self._windows]
        if begun.window_start in starts:
            return begun
        start = max((start for start in starts if start <= begun.window_start), default=starts[0])
        return msgspec.structs.replace(begun, window_start=start, position=None, again=False, said=None)

    @property
    def _index(self) -> int:
        return next(n for n, window in enumerate(self._windows) if window.start == self._cursor.window_start)

    async def _pull_on(self) -> None:
        """From the cursor on. Pages are fetched while those before them are being stored; they are checkpointed in
        their order, each as soon as it and those before it are stored, together with those that are by then."""
        pages: asyncio.Queue[_Fetched | Exception | None] = asyncio.Queue(1)
        fetching = asyncio.create_task(self._fetch_into(pages))
        taking: asyncio.Task[_Fetched | Exception | None] | None = asyncio.create_task(pages.get())
        storing: deque[tuple[_Fetched, asyncio.Task[Stored]]] = deque()
        noting: asyncio.Task[bool] | None = None
        failure: Exception | None = None
        # Nothing of the next window is stored before the end of this one was looked at.
        is_barred = False
        try:
            while taking or storing or noting:
                takes = taking is not None and len(storing) < PAGES_UNDER_WAY and not is_barred
                awaited: list[asyncio.Task[Any]] = [noting] if noting else [storing[0][1]] if storing else []
                if taking and takes:
                    awaited.append(taking)
                await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
                if noting and noting.done():
                    if not noting.result():
                        return
                    noting, is_barred = None, is_barred and bool(storing)
                if noting is None and storing and storing[0][1].done():
                    noting = asyncio.create_task(self._checkpoint(*_stored_by_now(storing)))
                if taking and takes and taking.done():
                    taken, taking = taking.result(), None
                    if isinstance(taken, _Fetched):
                        storing.append((taken, asyncio.create_task(self._store(taken.page.items))))
                        is_barred = taken.is_checked
                        taking = asyncio.create_task(pages.get())
                    elif taken:
                        # What was fetched before it is stored all the same.
                        failure = taken
        finally:
            others = [task for task in (taking, noting) if task]
            await ended(fetching, *others, *(task for _, task in storing))
            # What was fetched, and is dropped.
            self._give_back(self._own_room.taken)
        if failure:
            raise failure

    async def _fetch_into(self, pages: "asyncio.Queue[_Fetched | Exception | None]") -> None:
        """Page after page; then None, or what went wrong."""
        position, said = self._cursor.position, self._cursor.said
        try:
            for index in range(self._index, len(self._windows)):
                while True:
                    page = await self._fetch(self._windows[index], position)
                    said = page.said if page.said is not None else said
                    await pages.put(_Fetched(index, page, said))
                    position = page.position
                    if position is None:
                        break
                said = None
        except Exception as error:
            await pages.put(error)
        else:
            await pages.put(None)

    async def _fetch(self, window: Window, position: str | None) -> Page:
        """The page, for which room is taken before it is asked for."""
        most = min(max(2 * self._largest, SMALL_PAGE), MAX_BODY_BYTES)
        while True:
            await self._take(most)
            kept = 0
            try:
                page = await self._connector.page(window, position, most)
                kept = page.size
                break
            except Larger as larger:
                largest = larger.size
            finally:
                self._give_back(most - kept)
            most = largest
        self._largest = max(self._largest, page.size)
        return page

    async def _take(self, size: int) -> None:
        await self._own_room.take(size)
        try:
            await self._room.take(size)
        except asyncio.CancelledError:
            self._own_room.give_back(size)
            raise

    def _give_back(self, size: int) -> None:
        self._own_room.give_back(size)
        self._room.give_back(size)

    async def _store(self, items: Sequence[Item]) -> Stored:
        self._hold.check()
        return await store(self._ingest, self._claim, self._platform, items, self._connector.item_headers)

    async def _checkpoint(self, pages: Sequence[_Fetched], stored: Stored) -> bool:
        """Notes pages of one window. False: it is to be read again, from its start."""
        before, fetched = self._cursor, pages[-1]
        page = fetched.page
        is_done = page.position is None
        # A time in the future says nothing about how far the history has been read.
        now = datetime.now(UTC)
        times = (item.moment for one in pages for item in one.page.items if item.moment and item.moment <= now)
        newest = max(times, default=None)
        if before.newest and (newest is None or newest < before.newest):
            newest = before.newest
        lacking = await self._lacking(fetched, stored.item_ids) if fetched.is_checked else None
        self._pages += stored.pages
        changes: dict[str, Any] = {"position": page.position, "said": fetched.said, "newest": newest}
        again = lacking is not None and not before.again
        done = fetched.window
        if again:
            changes |= {"again": True, "said": None}
            self._hold.lines.add("warning", "PAGE_REPEATED", f"{lacking} It is read once more.")
        elif is_done:
            done += 1
            changes |= self._next_window(fetched, before, lacking)
        cursor = msgspec.structs.replace(before, **changes)
        await self._hold.checkpoint(
            self._pages,
            Progress(
                cursor=cursor.encode(),
                windows_done=done,
                window_start_time=cursor.window_start,
                window_until_time=self._windows[min(done, len(self._windows) - 1)].until,
                synced_time=self._synced(before, cursor, pages, is_done=is_done and not again, now=now),
                said=_sum(cursor.said_before, cursor.said),
                retries=self._hold.retries,
            ),
            stored,
        )
        self._cursor = cursor
        self._give_back(sum(one.page.size for one in pages))
        return not again

    def _next_window(self, fetched: _Fetched, before: Cursor, lacking: str | None) -> dict[str, Any]:
        """How the cursor changes at a window's end."""
        following = fetched.window + 1
        read = f"{_named(self._windows[fetched.window])} is read"
        pages = self._pages - before.pages_before
        if lacking is None:
            self._hold.lines.add("info", "WINDOW_DONE", f"{read}: pages {pages}.")
        else:
            self._hold.lines.add("error", "WINDOW_DONE", f"{read} twice: pages {pages}. {lacking}")
        changes: dict[str, Any] = {
            "again": False,
            "pages_before": self._pages,
            "said": None,
            "said_before": _sum(before.said_before, fetched.said),
            "lacking": before.lacking or lacking,
            "lacking_since": before.lacking_since or (self._windows[fetched.window].start if lacking else None),
        }
        if following == len(self._windows):
            return changes | {"done": True}
        return changes | {"window_start": self._windows[following].start}

    def _synced(
        self, before: Cursor, cursor: Cursor, pages: Sequence[_Fetched], *, is_done: bool, now: datetime
    ) -> datetime | None:
        """Up to where everything is read, if that is further than before. Where something lacks it stays before that,
        so that the next run reads it again."""
        if before.lacking:
            return None
        if is_done and not cursor.lacking:
            return cursor.newest
        # Of a window whose size is known it is not clear before its end whether something lacks.
        if before.again or pages[-1].said is not None:
            return None
        read = [one.page.read_until for one in pages if one.page.position is not None and one.page.read_until]
        return max((moment for moment in read if moment <= now), default=None)

    async def _lacking(self, fetched: _Fetched, item_ids: Sequence[str]) -> str | None:
        """What a window's end lacks, for a person to read."""
        window = _named(self._windows[fetched.window])
        if fetched.said is not None:
            claim, after = self._claim, self._cursor.pages_before
            listed = await self._hold.while_held(
                lambda connection: reconciling.count_listed(connection, claim.company_id, claim.run_id, after, item_ids)
            )
            if listed is None:
                message = f"{window}: how many events it lists was not counted: it takes the database too long."
                self._hold.lines.add("warning", "NOT_COMPARED", message)
            elif fetched.said > listed:
                return f"{window}: the source says that it has {fetched.said:,} events, and lists {listed:,}."
        if fetched.page.more:
            return f"{window}: the source says that there is more, and gives nothing more."
        return None

    def _retried(self, reason: str) -> None:
        metrics.RETRIES.inc()
        self._hold.retries += 1
        self._retries += 1
        code = "RATE_LIMITED" if "429" in reason else "PAGE_RETRIED"
        self._hold.lines.add("warning", code, f"{reason} The page is asked for again.")
        read = self._pages - self._claim.pages
        if self._retries > RETRIES + read // 2 and not self.overspent.done():
            message = f"{self._retries} requests of this attempt had to be made again; the last: {reason}"
            self.overspent.set_exception(TryLater(message))


async def ended(*tasks: "asyncio.Future[Any]") -> None:
    """Cancels what is still going on, and waits until nothing is."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _stored_by_now(storing: "deque[tuple[_Fetched, asyncio.Task[Stored]]]") -> tuple[list[_Fetched], Stored]:
    """Takes the pages that are stored, up to one that is not, or to the end of a window; and what they brought. Raises
    what the first one has failed of; where it is a later one, those before it come first."""
    pages: list[_Fetched] = []
    brought: list[Stored] = []
    while storing and storing[0][1].done() and not (brought and storing[0][1].exception()):
        fetched, task = storing.popleft()
        pages.append(fetched)
        brought.append(task.result())
        if fetched.page.position is None:
            break
    return pages, brought[0] if len(brought) == 1 else Stored.together(brought)


def _sum(one: int | None, other: int | None) -> int | None:
    return one if other is None else other if one is None else one + other


def _named(window: Window) -> str:
    start = window.start.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    if window.until is None:
        return f"From {start} on"
    return f"From {start} to {window.until.astimezone(UTC).isoformat(timespec='seconds').replace('+00:00', 'Z')}"
