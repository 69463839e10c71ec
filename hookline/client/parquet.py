"""Exports as Parquet, made here out of the NDJSON stream."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from types import TracebackType
from typing import Any, Self

from hookline.client.errors import HooklineError
from hookline.client.export import Content, ExportSummary
from hookline.client.files import WholeFile
from hookline.client.unpacking import package

BATCH_BYTES = 4 * 1024 * 1024
"""Lines that are held as they came, before they become columns."""
ROW_GROUP_BYTES = 64 * 1024 * 1024
"""Of columns in memory, after which a row group is written."""
_DIGITS, _DECIMALS = 38, 18
_TIMES = ("occurred_time", "received_time", "erase_time")


class ParquetFile:
    """A Parquet file that appears under its name only when it is complete: see WholeFile.

    Columns are those of the stream's header. `sequence` is an int64, `total` a decimal128(38, 18), times are
    timestamps in microseconds, UTC. All others are texts: `payload` is its JSON; what a path in the payload leads to is
    a text as it is, anything else its JSON. Nothing is rounded or defused. A total with more than 18 decimals raises
    HooklineError. The metadata of the file says which events it has: `hookline.last_sequence`, `hookline.last_change`,
    `hookline.rows`.

    Holds one batch of lines and one row group in memory. Raises MissingPackage and OSError.
    """

    def __init__(self, path: str | os.PathLike[str], content: Content) -> None:
        self._arrow = package("pyarrow", "parquet")
        self._parquet = package("pyarrow.parquet", "parquet")
        self._msgspec = package("msgspec", "parquet")
        self._content = content
        self._whole = WholeFile(path)
        self._clear()

    def _clear(self) -> None:
        self._file = _Sink(self._whole)
        self._writer: Any = None
        self._columns: list[_Column] = []
        self._rest: list[bytes] = []
        self._held = 0
        self._batches: list[Any] = []

    @property
    def can_begin_anew(self) -> bool:
        """Whether what was written can be taken back: not out of a pipe."""
        return self._whole.can_begin_anew

    def begin_anew(self) -> None:
        """Takes back what was written."""
        self._file.detach()
        self._clear()
        self._whole.begin_anew()

    def write(self, data: bytes) -> None:
        """Takes the next piece of the stream, cut anywhere."""
        self._rest.append(data)
        self._held += len(data)
        if self._held >= BATCH_BYTES and b"\n" in data:
            self._convert()

    def finish(self, summary: ExportSummary) -> ExportSummary:
        """Writes what is left and the metadata, and makes the file durable, and then visible."""
        self._convert()
        self._write_group()
        header = self._content.header
        assert header is not None
        metadata = {"last_sequence": header.last_sequence, "last_change": header.last_change, "rows": summary.rows}
        self._writer.add_key_value_metadata({f"hookline.{name}": str(value) for name, value in metadata.items()})
        self._writer.close()
        self._whole.commit()
        return ExportSummary(summary.rows, self._file.bytes, self._file.sha256.hexdigest())

    def __enter__(self) -> Self:
        self._whole.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.detach()
        self._whole.__exit__(kind, error, traceback)

    def _open(self) -> None:
        header = self._content.header
        assert header is not None
        self._columns = [self._column(name) for name in header.columns]
        self._schema = self._arrow.schema([(column.name, column.kind) for column in self._columns])
        self._writer = self._parquet.ParquetWriter(self._file, self._schema, compression="zstd")
        # A path is no name that a field could have: they are numbered.
        fields = [(f"c{number}", column.read_as) for number, column in enumerate(self._columns)]
        renamed = {f"c{number}": column.name for number, column in enumerate(self._columns)}
        self._lines = self._msgspec.json.Decoder(self._msgspec.defstruct("Row", fields, rename=renamed))

    def _column(self, name: str) -> "_Column":
        if name == "sequence":
            return _Column(name, self._arrow.int64(), int)
        if name == "total":
            return _Column(name, self._arrow.decimal128(_DIGITS, _DECIMALS), Decimal | None, _checked)
        if name in _TIMES:
            return _Column(name, self._arrow.timestamp("us", tz="UTC"), datetime | None)
        if name == "payload":
            return _Column(name, self._arrow.string(), self._msgspec.Raw, _as_it_is)
        if name.startswith("payload."):
            return _Column(name, self._arrow.string(), self._msgspec.Raw, self._text)
        return _Column(name, self._arrow.string(), str | None)

    def _convert(self) -> None:
        """Makes columns of the whole lines that are held."""
        if self._writer is None:
            self._open()
        whole, _, rest = b"".join(self._rest).rpartition(b"\n")
        self._rest, self._held = [rest], len(rest)
        if not whole:
            return
        rows = self._lines.decode_lines(whole)
        arrays = []
        for number, column in enumerate(self._columns):
            values = map(attrgetter(f"c{number}"), rows)
            arrays.append(self._arrow.array(map(column.make, values) if column.make else values, column.kind))
        self._batches.append(self._arrow.record_batch(arrays, schema=self._schema))
        if sum(batch.nbytes for batch in self._batches) >= ROW_GROUP_BYTES:
            self._write_group()

    def _write_group(self) -> None:
        if self._batches:
            table = self._arrow.Table.from_batches(self._batches)
            self._writer.write_table(table, row_group_size=table.num_rows)
            self._batches.clear()

    def _text(self, raw: Any) -> str | None:
        """A text as it is, anything else as its JSON, with the digits that it has there."""
        text = _as_it_is(raw)
        if text.startswith('"'):
            return str(self._msgspec.json.decode(raw))
        return None if text == "null" else text


@dataclass(frozen=True)
class _Column:
    """A column: its type in the file, what its values are read as, and what is made of each of them."""

    name: str
    kind: Any
    read_as: Any
    make: Callable[[Any], Any] | None = None


class _Sink:
    """What pyarrow writes to: counts and hashes on the way."""

    closed = False

    def __init__(self, file: WholeFile) -> None:
        self._file: WholeFile | None = file
        self.bytes = 0
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        """Appends."""
        if self._file:
            self._file.write(data)
            self.sha256.update(data)
            self.bytes += len(data)
        return len(data)

    def detach(self) -> None:
        """Lets nothing through any more: a writer that is given up writes its footer when it is cleared away."""
        self._file = None

    def tell(self) -> int:
        """Where the file's end is."""
        return self.bytes

    def flush(self) -> None:
        """Nothing to do: the file is synced when it is complete."""

    def close(self) -> None:
        """Nothing to do: the file closes itself."""


def _as_it_is(raw: Any) -> str:
    return bytes(raw).decode()


def _checked(total: Decimal | None) -> Decimal | None:
    if total is None:
        return None
    _, digits, exponent = total.as_tuple()
    # What is right of the column's decimals must be zeros. Not by `normalize`, which rounds.
    too_many = -int(exponent) - _DECIMALS
    if too_many > 0 and any(digits[-too_many:]):
        raise HooklineError(
            f"The total {total:f} has more than the {_DECIMALS} decimals that a column of Parquet holds here; export "
            "other columns, or as CSV or NDJSON."
        )
    return total
