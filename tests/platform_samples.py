"""What platforms send, made up: `tests/platforms/<platform>/<case>.toml`, each with what is to be understood of it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import msgspec

SAMPLES = Path(__file__).parent / "platforms"


class Expected(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The fields of the event. What is not given must be None."""

    type: str
    dedup_key: str
    platform_type: str | None = None
    customer_name: str | None = None
    product_name: str | None = None
    total: str | None = None
    currency: str | None = None
    occurred_time: str | None = None
    """As RFC 3339, in UTC."""
    stripped: tuple[str, ...] = ()
    """Paths that must not be in what is stored; everything else must be."""

    @property
    def moment(self) -> datetime | None:
        return None if self.occurred_time is None else datetime.fromisoformat(self.occurred_time).astimezone(UTC)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    body: str
    expected: Expected
    query: str = ""
    headers: Mapping[str, str] = {}
    named: bool = False


class Sample(msgspec.Struct, frozen=True):
    """One delivery, unsigned unless its platform's token is in the body."""

    platform: str
    case: str
    body: bytes
    expected: Expected
    query: str
    headers: Mapping[str, str]
    named: bool
    """Whether the platform must be named: the payload does not tell."""

    def __str__(self) -> str:
        return f"{self.platform}-{self.case}"

    @property
    def named_platform(self) -> str:
        """The platform to send it with."""
        return self.platform if self.named else ""


@cache
def samples() -> Sequence[Sample]:
    """All of them, in order."""
    return [_read(path) for path in sorted(SAMPLES.glob("*/*.toml"))]


def samples_of(platform: str) -> Sequence[Sample]:
    return [sample for sample in samples() if sample.platform == platform]


def _read(path: Path) -> Sample:
    try:
        file = msgspec.toml.decode(path.read_bytes(), type=_File)
    except msgspec.DecodeError as error:
        raise ValueError(f"{path.relative_to(SAMPLES)}: {error}") from None
    return Sample(
        platform=path.parent.name,
        case=path.stem,
        body=file.body.encode(),
        expected=file.expected,
        query=file.query,
        headers=file.headers,
        named=file.named,
    )
