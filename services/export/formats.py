"""What a file is beside its rows: its columns, its beginning and end, its dialect. Pure rules."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from services.export.columns import USUAL_CSV, USUAL_JSON, Column, columns

VERSION = 3
"""Of the bytes that the same events come to, and of what a resume token holds. To be raised with any change of them: an
export that began with another version can't be resumed."""
_BYTE_ORDER_MARK = "\ufeff".encode()


class FileKind(Enum):
    """The formats, and a guess at the bytes of a usual row, for the first page; later ones go by what came."""

    CSV = 160
    JSON = 851
    NDJSON = 850

    @property
    def is_json(self) -> bool:
        return self is not FileKind.CSV


@dataclass(frozen=True)
class Dialect:
    """How a CSV is written. Times: in RFC 3339 where there is no `time_format`, which is one of PostgreSQL's."""

    delimiter: str = ","
    decimal_comma: bool = False
    byte_order_mark: bool = False
    time_format: str | None = None


PLAIN = Dialect()
EXCEL = Dialect(byte_order_mark=True, time_format="YYYY-MM-DD HH24:MI:SS")
EXCEL_PTBR = Dialect(delimiter=";", decimal_comma=True, byte_order_mark=True, time_format="DD/MM/YYYY HH24:MI:SS")


@dataclass(frozen=True)
class Format:
    """A file as it was asked for. `before_row` stands in front of each row; where it is not empty, `start` replaces the
    first one: a JSON array's rows all begin with a comma, and its first with a bracket instead."""

    kind: FileKind
    columns: Sequence[Column]
    media_type: str
    dialect: Dialect = PLAIN
    portuguese: bool = False
    time_zone: str = "UTC"
    start: bytes = b""
    before_row: str = ""
    end: bytes = b""


def csv_format(
    names: Sequence[str] = (), dialect: Dialect = PLAIN, *, portuguese: bool = False, time_zone: str = "UTC"
) -> Format:
    """A CSV with these columns, the usual ones if none are given. Raises NoColumnError."""
    chosen = columns(names or USUAL_CSV)
    titles = io.StringIO()
    # A title out of a payload's path may need quotes, too.
    csv.writer(titles, delimiter=dialect.delimiter, lineterminator="\n").writerow(
        column.portuguese if portuguese else column.name for column in chosen
    )
    start = (_BYTE_ORDER_MARK if dialect.byte_order_mark else b"") + titles.getvalue().encode()
    return Format(
        FileKind.CSV,
        chosen,
        "text/csv; charset=utf-8",
        dialect,
        portuguese=portuguese,
        time_zone=time_zone,
        start=start,
    )


def json_format(names: Sequence[str] = (), *, time_zone: str = "UTC") -> Format:
    """A JSON array of objects with these members, the usual ones if none are given. Raises NoColumnError."""
    return Format(
        FileKind.JSON,
        columns(names or USUAL_JSON),
        "application/json",
        time_zone=time_zone,
        start=b"[",
        before_row=",",
        end=b"]\n",
    )


def ndjson_format(names: Sequence[str] = (), *, time_zone: str = "UTC") -> Format:
    """The same objects, one a line. Raises NoColumnError."""
    return Format(FileKind.NDJSON, columns(names or USUAL_JSON), "application/x-ndjson", time_zone=time_zone)
