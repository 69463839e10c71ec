"""Sources between the contract's messages and what the store works with."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from urllib.parse import urlsplit

import msgspec
from google.protobuf.duration_pb2 import Duration

from hookline.sync.v1 import sync_service_pb2 as pb
from services.sync import schedule_conversion
from services.sync.connectors.authorization import credential_problem
from services.sync.connectors.vetting import check_url
from services.sync.source_store import LOOK_BACK, RUN_DEADLINE, Source
from shared.errors import InvalidField, Violation
from shared.platforms import Platform
from shared.platforms.history import check_values
from shared.timestamps import duration, period, timestamp

MAX_LOOK_BACK = timedelta(days=30)
SHORTEST_DEADLINE, LONGEST_DEADLINE = timedelta(minutes=1), timedelta(days=30)
CHANGEABLE = ("base_url", "credential", "parameters", "look_back", "run_deadline")
_MAX_TEXT = 2_000


_Request = pb.CreateSourceRequest | pb.UpdateSourceRequest


class Fields(msgspec.Struct, frozen=True):
    """What can be changed of a source. None: it stays as it is."""

    base_url: str | None = None
    credential: str | None = None
    parameters: dict[str, str] | None = None
    look_back: timedelta | None = None
    run_deadline: timedelta | None = None


def check_new(request: pb.CreateSourceRequest, platforms: Mapping[str, Platform], *, allow_loopback: bool) -> Platform:
    """The platform of a source that is to be made. `platforms` are those that the company can name. Raises InvalidField
    with everything that is wrong with the source."""
    platform = platforms.get(request.platform)
    wrong = []
    if platform is None or platform.history is None:
        able = ", ".join(name for name, platform in platforms.items() if platform.history)
        wrong.append(Violation("platform", f"must be one with a history: {able}"))
    wrong += _wrong(request, platform, CHANGEABLE, allow_loopback=allow_loopback)
    if wrong or platform is None:
        raise InvalidField(*wrong)
    return platform


def to_periods(request: _Request) -> tuple[timedelta, timedelta]:
    """The look-back and the deadline of a request that was checked; what they are by default where it has none."""
    look_back = period(request.look_back) if request.HasField("look_back") else LOOK_BACK
    run_deadline = period(request.run_deadline) if request.HasField("run_deadline") else RUN_DEADLINE
    assert look_back is not None
    assert run_deadline is not None
    return look_back, run_deadline


def to_changes(
    request: pb.UpdateSourceRequest, source: Source, platform: Platform | None, *, allow_loopback: bool
) -> Fields:
    """What is to be changed of the source, which is of that platform. None: there is no such platform any more. Raises
    InvalidField with everything that is wrong."""
    paths = list(request.update_mask.paths)
    wrong = [
        Violation("update_mask", f"{path!r} is none of {', '.join(CHANGEABLE)}")
        for path in dict.fromkeys(paths)
        if path not in CHANGEABLE
    ]
    if not paths:
        wrong.append(Violation("update_mask", "is required"))
    wrong += _wrong(request, platform, paths, allow_loopback=allow_loopback)
    keeps_credential = not wrong and "base_url" in paths and "credential" not in paths
    # Whoever may change a source can't read its credential, nor have it sent to a server of their own.
    if keeps_credential and _server(request.base_url) != _server(source.base_url):
        wrong.append(Violation("credential", "is required with a base_url of another scheme, host or port"))
    if wrong:
        raise InvalidField(*wrong)
    look_back, run_deadline = to_periods(request)
    return Fields(
        base_url=request.base_url if "base_url" in paths else None,
        credential=request.credential if "credential" in paths else None,
        parameters=dict(request.parameters) if "parameters" in paths else None,
        look_back=look_back if "look_back" in paths else None,
        run_deadline=run_deadline if "run_deadline" in paths else None,
    )


def from_source(source: Source) -> pb.Source:
    """The source as a message."""
    return pb.Source(
        company_id=source.company_id,
        source=source.source,
        platform=source.platform,
        base_url=source.base_url,
        parameters=source.parameters,
        create_time=timestamp(source.created_time),
        schedule=schedule_conversion.from_schedule(source),
        look_back=duration(source.look_back),
        run_deadline=duration(source.run_deadline),
        synced_time=timestamp(source.synced_time),
    )


def _wrong(
    request: _Request, platform: Platform | None, names: Sequence[str], *, allow_loopback: bool
) -> Iterator[Violation]:
    """What is wrong with the fields of those names."""
    history = platform.history if platform else None
    if "base_url" in names and (problem := check_url(request.base_url, allow_loopback=allow_loopback)):
        yield Violation("base_url", problem)
    elif (
        "base_url" in names
        and history
        and history.protocol == "hookline"
        and urlsplit(request.base_url).path.strip("/")
    ):
        yield Violation("base_url", "must have no path: another Hookline is asked over gRPC")
    if "credential" in names:
        if not _is_header(request.credential):
            yield Violation("credential", f"is required, in printable ASCII, of at most {_MAX_TEXT:,} characters")
        elif history and (problem := credential_problem(history, request.credential)):
            yield Violation("credential", problem)
    if "parameters" in names and platform and history:
        for name, problem in check_values(history, request.parameters):
            yield Violation(f"parameters.{name}", problem)
    if "look_back" in names and request.HasField("look_back"):
        yield from _wrong_period("look_back", request.look_back, timedelta(0), MAX_LOOK_BACK, "from 0 to 30 days")
    if "run_deadline" in names and request.HasField("run_deadline"):
        bounds = (SHORTEST_DEADLINE, LONGEST_DEADLINE, "from one minute to 30 days")
        yield from _wrong_period("run_deadline", request.run_deadline, *bounds)


def _server(url: str) -> tuple[str, str | None, int]:
    """Who is asked at a URL."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def _wrong_period(
    field: str, message: Duration, shortest: timedelta, longest: timedelta, bounds: str
) -> Iterator[Violation]:
    given = period(message)
    if given is None or not shortest <= given <= longest:
        yield Violation(field, f"must be {bounds}")


def _is_header(text: str) -> bool:
    return 0 < len(text) <= _MAX_TEXT and text.isascii() and text.isprintable()
