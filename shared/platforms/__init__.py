"""The platforms that Hookline understands: one TOML file each, in this folder. A new platform is a file, not code.

`docs/platforms.md` explains the files. This module loads and checks them; `services.ingest.mapping` applies them.
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from shared.errors import OperatorError
from shared.names import is_name


class Recognise(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a payload must have to be taken for this platform's when no platform is named."""

    present: tuple[str, ...]
    """Paths that must all be there."""


class Fields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where in a payload the fields are. A path is member names joined by "."; a number is a position in a list.
    Of several paths the first one that holds a value counts."""

    type: tuple[str, ...]
    dedup_key: tuple[tuple[str, ...], ...]
    """Alternatives, of which the first whose parts are all there is joined by ":". A part ending in "?" may be missing.
    None of them there: the SHA-256 of the payload."""
    customer_name: tuple[str, ...] = ()
    product_name: tuple[str, ...] = ()
    total: tuple[str, ...] = ()
    currency: tuple[str, ...] = ()
    occurred_time: tuple[str, ...] = ()


class History(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The platform's API for its own history: pages of events in the order of their time, from a time on."""

    path: str
    """Of the URL, after the source's base."""
    since: str
    """The query parameter for the time from which on events are given, that time included."""
    items: str
    """The member of the answer that is the list of events."""
    payload: str
    """The member of an event that is what its webhook carried."""
    id: str
    """The member of an event that identifies it in the history."""
    time: str
    """The member of an event that is its time, as `since` takes it."""
    limit: str
    """The query parameter for the size of a page."""
    page_size: int
    """The size to ask for."""
    parameters: tuple[str, ...] = ()
    """Query parameters that each source must give."""


class Platform(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One platform's file."""

    name: str
    title: str
    fields: Fields
    recognise: Recognise | None = None
    """None: only when named, or as the fallback."""
    history: History | None = None
    """None: the platform keeps none that can be pulled."""
    fallback: bool = False
    """Tried last, on what no other platform recognises. One platform only."""
    total_unit: Literal["major", "minor"] = "major"
    """Whether totals are in the currency's unit (197.90) or in hundredths of it (19790)."""
    currency: str | None = None
    """The currency where the payload names none."""
    time_zone: str = "UTC"
    """The zone of times that name none."""


@cache
def platforms() -> Mapping[str, Platform]:
    """All platforms by name, the fallback last. Raises OperatorError when a file is malformed."""
    found: dict[str, Platform] = {}
    for file in sorted(files("shared.platforms").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".toml"):
            platform = parse_platform(file.read_bytes(), file.name)
            if file.name != f"{platform.name}.toml":
                raise OperatorError(f"The platform file {file.name} names its platform {platform.name!r}.")
            found[platform.name] = platform
    fallbacks = [platform for platform in found.values() if platform.fallback]
    if len(fallbacks) != 1:
        raise OperatorError("Exactly one platform file must say `fallback = true`.")
    found[fallbacks[0].name] = found.pop(fallbacks[0].name)
    return found


def parse_platform(toml: bytes, file: str) -> Platform:
    """Reads one platform's file. Raises OperatorError with one sentence that names the file and what is wrong."""
    try:
        platform = msgspec.toml.decode(toml, type=Platform)
        ZoneInfo(platform.time_zone)
    except (msgspec.DecodeError, UnicodeDecodeError, ZoneInfoNotFoundError, ValueError) as error:
        raise OperatorError(f"The platform file {file} is malformed: {error}.") from None
    if not is_name(platform.name):
        raise OperatorError(f"The platform file {file} is malformed: its name can't be a name.")
    if not platform.fields.type or not all(platform.fields.dedup_key):
        raise OperatorError(f"The platform file {file} is malformed: a type, and parts in each dedup key, are needed.")
    return platform
