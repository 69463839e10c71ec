"""Grapfy: `GET /webhook-events`, from a time on, oldest first; the client pages by the times it sees."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import msgspec
from multidict import MultiMapping
from yarl import URL

from services.sandbox.faults import Lie
from services.sandbox.forms import Answer, Asked, Form, Wrong, bearer, json, milliseconds, number, optional, rfc3339
from services.sandbox.history import History, Item, to_time

DEFAULT_LIMIT, LARGEST_LIMIT = 100, 1000

_DELIVERY = timedelta(seconds=2)


class Grapfy(Form):
    path = "/webhook-events"

    def __init__(self, history: History, token: str, webhook_setting_id: str) -> None:
        self._history = history
        self._token = token
        self._webhook_setting_id = webhook_setting_id

    def authorize(self, headers: Mapping[str, str]) -> None:
        bearer(headers, self._token)

    def read(self, query: MultiMapping[str]) -> Asked:
        if query.get("webhookSettingId") != self._webhook_setting_id:
            raise Wrong(404, "there is no such webhookSettingId")
        limit = number(query, "limit", DEFAULT_LIMIT, LARGEST_LIMIT)
        return Asked(limit, start=optional(query, "since", milliseconds), copies=True)

    def page(self, asked: Asked, url: URL, lie: Lie | None) -> Answer:
        since = asked.start or 0
        if lie is Lie.CIRCLE:
            ahead = len(self._history.between(None, since, copies=True)) % (2 * asked.limit)
            items = self._history.between(None, None, copies=True)[ahead : ahead + asked.limit]
        elif lie is Lie.SAME:
            # Here the client makes the cursors, of the times it sees.
            items = [
                replace(item, created=max(item.created, since + 1 + place), json=None)
                for place, item in enumerate(self._history.page(0, asked.limit))
            ]
        else:
            items = self._history.page(since, asked.limit)
        return Answer(items, b'{"events":[%b]}' % b",".join(map(self._listed, items)), {})

    def _listed(self, item: Item) -> bytes:
        if item.json is None:
            payload = self._history.payload(item.event)
            created = to_time(item.created)
            times = f'"createdAt":"{rfc3339(created)}","updatedAt":"{rfc3339(created + _DELIVERY)}"}}'
            # The payload is put in as it is, byte for byte.
            item.json = b'{"id":"%b","eventType":%b,"payload":%b,"status":"%b","httpCodeResponse":%d,%b' % (
                item.id.encode(),
                json(_event_type(payload)),
                payload,
                b"delivered" if item.delivered else b"failed",
                200 if item.delivered else 503,
                times.encode(),
            )
        return item.json


class _Typed(msgspec.Struct):
    eventType: str = "unknown"  # noqa: N815  # the platform's name


def _event_type(payload: bytes) -> str:
    try:
        return msgspec.json.decode(payload, type=_Typed).eventType
    except msgspec.DecodeError:
        return "unknown"
