"""First pages of lists, remembered: what a dashboard asks for again and again.

A page is kept under the moment of the log that it is of, its statuses' included, so that it is never to be taken back.
Only without payloads: those may be large, and are best kept in one place.
"""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from google.protobuf.message import DecodeError

from hookline.export.v1.event_query_service_pb2 import ListEventsResponse
from services.export.cache import Cache
from services.export.store import Moment


async def remembered(
    cache: Cache, company_id: str, moment: Moment, request: Any, read: Callable[[], Awaitable[ListEventsResponse]]
) -> ListEventsResponse:
    """The first page that `request`, all that it depends on beside the moment, is answered with: as it was then when
    someone has asked before, else read now. A list without events is not worth remembering."""
    asked = hashlib.sha256(msgspec.json.encode([moment, request])).hexdigest()
    key = f"page:2:{company_id}:{asked}"
    if (kept := await cache.get(key)) and (page := _read(kept)):
        return page
    page = await read()
    if page.events:
        await cache.put(key, page.SerializeToString())
    return page


def _read(kept: bytes) -> ListEventsResponse | None:
    try:
        return ListEventsResponse.FromString(kept)
    except DecodeError:
        return None
