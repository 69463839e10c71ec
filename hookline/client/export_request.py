"""How the arguments of an export become its request. Pure."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict, get_args

from hookline.client.requests import ORDERS, Filter, Order, event_filter, one_of
from hookline.export.v1.export_service_pb2 import (
    Compression,
    CsvDialect,
    ExportEventsRequest,
    ExportFormat,
    HeaderLanguage,
)

Format = Literal["csv", "json", "ndjson"]
FileFormat = Literal["csv", "json", "ndjson", "parquet"]
Dialect = Literal["plain", "excel", "excel-ptbr"]
Language = Literal["english", "portuguese"]
Packing = Literal["none", "gzip", "zstd"]


class ExportOptions(TypedDict, total=False):
    """How an export is written, beside its format; each may be left out.

    `limit`: at most so many events, 0 is no limit; with a limit the newest, else all from the oldest on, unless
    `order` says otherwise. `columns`: fields of an event, or paths into the payload such as "payload.utm.source".
    `dialect`, and `language` of the header line, are for CSV only. `time_zone`: the IANA zone that times are shown in.
    `compression`: only on the way; the file is the same.
    """

    limit: int
    order: Order | None
    columns: Sequence[str]
    dialect: Dialect
    language: Language
    time_zone: str
    compression: Packing


_FORMATS: Mapping[str, ExportFormat.ValueType] = {
    "csv": ExportFormat.EXPORT_FORMAT_CSV,
    "json": ExportFormat.EXPORT_FORMAT_JSON,
    "ndjson": ExportFormat.EXPORT_FORMAT_NDJSON,
}
_DIALECTS: Mapping[str, CsvDialect.ValueType] = {
    "plain": CsvDialect.CSV_DIALECT_UNSPECIFIED,
    "excel": CsvDialect.CSV_DIALECT_EXCEL,
    "excel-ptbr": CsvDialect.CSV_DIALECT_EXCEL_PTBR,
}
_LANGUAGES: Mapping[str, HeaderLanguage.ValueType] = {
    "english": HeaderLanguage.HEADER_LANGUAGE_UNSPECIFIED,
    "portuguese": HeaderLanguage.HEADER_LANGUAGE_PORTUGUESE,
}
_COMPRESSIONS: Mapping[str, Compression.ValueType] = {
    "none": Compression.COMPRESSION_UNSPECIFIED,
    "gzip": Compression.COMPRESSION_GZIP,
    "zstd": Compression.COMPRESSION_ZSTD,
}


def stream_request(company: str, name: Format, where: Filter | None, options: ExportOptions) -> ExportEventsRequest:
    """The request for a stream. Raises ValueError for arguments that can't be."""
    return ExportEventsRequest(
        company_id=company,
        format=one_of(_FORMATS, name, "format"),
        filter=event_filter(where),
        limit=options.get("limit", 0),
        order=one_of(ORDERS, options.get("order"), "order"),
        csv_dialect=one_of(_DIALECTS, options.get("dialect", "plain"), "dialect"),
        columns=options.get("columns", ()),
        header_language=one_of(_LANGUAGES, options.get("language", "english"), "language"),
        time_zone=options.get("time_zone", ""),
        compression=one_of(_COMPRESSIONS, options.get("compression", "none"), "compression"),
    )


def file_request(
    company: str, name: FileFormat, where: Filter | None, options: ExportOptions, *, resume: bool
) -> ExportEventsRequest:
    """The request for the stream that a file is made of. Raises ValueError for arguments that can't be."""
    if name not in get_args(FileFormat):
        raise ValueError(f"format is one of {', '.join(get_args(FileFormat))}, not {name!r}")
    if name != "parquet":
        return stream_request(company, name, where, options)
    if resume:
        raise ValueError("a Parquet file can't be resumed by another process")
    if options.get("time_zone"):
        raise ValueError("times in a Parquet file are points in time: there is no time zone to show them in")
    # CSV's own options are left in: the server refuses them with this format.
    return stream_request(company, "ndjson", where, options)


def identity(request: ExportEventsRequest) -> str:
    """Stands for all of a request that decides the file's bytes."""
    same = ExportEventsRequest()
    same.CopyFrom(request)
    same.ClearField("compression")
    same.ClearField("resume_token")
    return hashlib.sha256(same.SerializeToString(deterministic=True)).hexdigest()
