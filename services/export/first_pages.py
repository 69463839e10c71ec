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
from services.export.store import Mark


async def remembered(
    cache: Cache, company_id: str, mark: Mark, request: Any, read: Callable[[], Awaitable[ListEventsResponse]]
) -> ListEventsResponse:
    """The first page that `request`, all that it depends on beside the mark, is answered with: as it was at that mark
    when someone has asked before, else read now. A list without events is not worth remembering."""
    asked = hashlib.sha256(msgspec.json.encode(request)).hexdigest()
    moment = f"{mark.erasure_epoch}.{mark.last_sequence}.{mark.last_change}"
    key = f"page:1:{company_id}:{moment}:{asked}"
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
