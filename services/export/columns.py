"""The columns that an export can have: fields of an event, and paths into its payload. Pure rules."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

MAX_COLUMNS = 100
MAX_NAME_BYTES = 63
"""PostgreSQL cuts longer names."""
_PAYLOAD = "payload."


class Kind(Enum):
    """What a column's values are, which decides how a dialect writes them."""

    PLAIN = auto()
    """An id, a code or a name that callers gave: nothing that a spreadsheet would run, nothing to format."""
    TEXT = auto()
    AMOUNT = auto()
    STATUS = auto()
    TIME = auto()
    PAYLOAD = auto()
    PATH = auto()
    """Whatever a path in the payload leads to."""


FIELDS = {
    "event_id": Kind.PLAIN,
    "sequence": Kind.PLAIN,
    "type": Kind.TEXT,
    "platform_type": Kind.TEXT,
    "platform": Kind.PLAIN,
    "source": Kind.PLAIN,
    "dedup_key": Kind.TEXT,
    "customer_name": Kind.TEXT,
    "product_name": Kind.TEXT,
    "total": Kind.AMOUNT,
    "currency": Kind.PLAIN,
    "status": Kind.STATUS,
    "status_error": Kind.TEXT,
    "occurred_time": Kind.TIME,
    "received_time": Kind.TIME,
    "erase_time": Kind.TIME,
    "payload": Kind.PAYLOAD,
}
PORTUGUESE = {
    "event_id": "ID do evento",
    "sequence": "Sequência",
    "type": "Tipo",
    "platform_type": "Tipo na plataforma",
    "platform": "Plataforma",
    "source": "Origem",
    "dedup_key": "Chave",
    "customer_name": "Cliente",
    "product_name": "Produto",
    "total": "Total",
    "currency": "Moeda",
    "status": "Situação",
    "status_error": "Erro",
    "occurred_time": "Ocorrido em",
    "received_time": "Recebido em",
    "erase_time": "Apagado em",
    "payload": "Conteúdo",
}
USUAL_CSV = (
    "event_id",
    "type",
    "customer_name",
    "product_name",
    "total",
    "currency",
    "source",
    "status",
    "occurred_time",
)
USUAL_JSON = (
    "event_id",
    "sequence",
    "type",
    "platform_type",
    "platform",
    "source",
    "dedup_key",
    "customer_name",
    "product_name",
    "total",
    "currency",
    "status",
    "status_error",
    "occurred_time",
    "received_time",
    "payload",
)


@dataclass(frozen=True)
class Column:
    """A column. `path` only where it leads into the payload."""

    name: str
    kind: Kind
    path: Sequence[str] = ()

    @property
    def portuguese(self) -> str:
        """Its title in Portuguese; a path is its own."""
        return PORTUGUESE.get(self.name, self.name)


class NoColumnError(ValueError):
    """A name that is no column's; the text says what is wrong with it."""


def column(name: str) -> Column:
    """The column of that name. Raises NoColumnError."""
    if name in FIELDS:
        return Column(name, FIELDS[name])
    if not name.startswith(_PAYLOAD):
        raise NoColumnError(f"is none of {', '.join(FIELDS)}, nor a path such as payload.utm.source")
    path = name.removeprefix(_PAYLOAD).split(".")
    if not all(path) or not name.isprintable():
        raise NoColumnError("a path is members' names joined by dots, of printable characters")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise NoColumnError(f"a path may have at most {MAX_NAME_BYTES} bytes")
    return Column(name, Kind.PATH, tuple(path))


def columns(names: Sequence[str]) -> Sequence[Column]:
    """The columns of these names, in their order."""
    return tuple(column(name) for name in names)
