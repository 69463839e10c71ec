"""What an export's request asks for, free of protobuf."""

import hashlib
from dataclasses import dataclass

from hookline.export.v1 import export_service_pb2 as pb
from services.export import compression, conversion, formats
from services.export.columns import MAX_COLUMNS, NoColumnError, column
from services.export.compression import Compress
from services.export.filters import Filter
from services.export.formats import Dialect, Format
from shared import requests
from shared.errors import InvalidField, Violation

_DIALECTS = {
    pb.CSV_DIALECT_UNSPECIFIED: formats.PLAIN,
    pb.CSV_DIALECT_PLAIN: formats.PLAIN,
    pb.CSV_DIALECT_EXCEL: formats.EXCEL,
    pb.CSV_DIALECT_EXCEL_PTBR: formats.EXCEL_PTBR,
}
_IS_PORTUGUESE = {
    pb.HEADER_LANGUAGE_UNSPECIFIED: False,
    pb.HEADER_LANGUAGE_ENGLISH: False,
    pb.HEADER_LANGUAGE_PORTUGUESE: True,
}
_COMPRESSIONS: dict[int, Compress | None] = {
    pb.COMPRESSION_UNSPECIFIED: None,
    pb.COMPRESSION_NONE: None,
    pb.COMPRESSION_GZIP: compression.gzip,
    pb.COMPRESSION_ZSTD: compression.zstd,
}


@dataclass(frozen=True)
class ExportRequest:
    """A request that makes sense. `identity` stands for all of it that decides the file's bytes."""

    company_id: str
    format: Format
    filter: Filter
    newest_first: bool
    limit: int | None
    compression: Compress | None
    resume_token: str
    identity: bytes


def read(request: pb.ExportEventsRequest) -> ExportRequest:
    """Raises InvalidField."""
    company_id = requests.company(request.company_id)
    if request.limit < 0:
        raise InvalidField(Violation("limit", "can't be negative"))
    if request.compression not in _COMPRESSIONS:
        raise InvalidField(Violation("compression", "must be NONE, GZIP or ZSTD"))
    return ExportRequest(
        company_id=company_id,
        format=_format(request),
        filter=conversion.to_filter(request.filter),
        newest_first=conversion.is_newest_first(request.order, default=request.limit > 0),
        limit=request.limit or None,
        compression=_COMPRESSIONS[request.compression],
        resume_token=request.resume_token,
        identity=_identity(request),
    )


def _format(request: pb.ExportEventsRequest) -> Format:
    time_zone = conversion.zone(request.time_zone)
    _check_columns(request)
    names = list(request.columns)
    if request.format == pb.EXPORT_FORMAT_CSV:
        dialect, portuguese = _csv_settings(request)
        return formats.csv_format(names, dialect, portuguese=portuguese, time_zone=time_zone)
    for name in ("csv_dialect", "header_language"):
        if getattr(request, name):
            raise InvalidField(Violation(name, "only goes with the format CSV"))
    if request.format == pb.EXPORT_FORMAT_JSON:
        return formats.json_format(names, time_zone=time_zone)
    if request.format == pb.EXPORT_FORMAT_NDJSON:
        return formats.ndjson_format(names, time_zone=time_zone)
    raise InvalidField(Violation("format", "must be CSV, JSON or NDJSON"))


def _csv_settings(request: pb.ExportEventsRequest) -> tuple[Dialect, bool]:
    dialect = _DIALECTS.get(request.csv_dialect)
    if dialect is None:
        raise InvalidField(Violation("csv_dialect", "must be PLAIN, EXCEL or EXCEL_PTBR"))
    is_portuguese = _IS_PORTUGUESE.get(request.header_language)
    if is_portuguese is None:
        raise InvalidField(Violation("header_language", "must be ENGLISH or PORTUGUESE"))
    return dialect, is_portuguese


def _check_columns(request: pb.ExportEventsRequest) -> None:
    if len(request.columns) > MAX_COLUMNS:
        raise InvalidField(Violation("columns", f"at most {MAX_COLUMNS}"))
    seen = set()
    for position, name in enumerate(request.columns):
        try:
            column(name)
        except NoColumnError as error:
            raise InvalidField(Violation(f"columns[{position}]", str(error))) from None
        if name in seen:
            raise InvalidField(Violation(f"columns[{position}]", "is there twice"))
        seen.add(name)


def _identity(request: pb.ExportEventsRequest) -> bytes:
    same = pb.ExportEventsRequest()
    same.CopyFrom(request)
    # How it travels, and how much of it is there already, make no other file of it.
    same.ClearField("compression")
    same.ClearField("resume_token")
    return hashlib.sha256(same.SerializeToString(deterministic=True)).digest()
