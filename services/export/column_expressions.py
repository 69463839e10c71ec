"""What each column of an export is in SQL: `e` is the event, `s` its status as of the mark."""

from collections.abc import Sequence

from services.export.columns import Column, Kind
from services.export.formats import Dialect, Format
from shared.literals import literal

_STATUS = "coalesce(s.status, 'pending')"
_FIELDS = {"platform_type": "coalesce(e.platform_type, e.type)", "status": _STATUS, "status_error": "s.error"}
_IN_PORTUGUESE = (
    f"CASE {_STATUS} WHEN 'pending' THEN 'pendente' WHEN 'processed' THEN 'processado' WHEN 'failed' THEN 'falhou' END"
)


def expressions(file_format: Format) -> str:
    """The list of expressions for the format's columns, in their order, each under the column's name."""
    of_column = _json if file_format.kind.is_json else _csv
    return ", ".join(
        f"{of_column(column, file_format)} AS {_identifier(column.name)}" for column in file_format.columns
    )


def _json(column: Column, file_format: Format) -> str:
    field = _FIELDS.get(column.name, f"e.{column.name}")
    match column.kind:
        case Kind.AMOUNT:
            # As a text: a reader's float must not take digits away.
            return f"{field}::text"
        case Kind.TIME:
            return _rfc3339(field, file_format.time_zone)
        case Kind.PATH:
            return f"e.payload #> {_path(column.path)}"
        case _:
            return field


def _csv(column: Column, file_format: Format) -> str:
    field = _FIELDS.get(column.name, f"e.{column.name}")
    match column.kind:
        case Kind.TEXT:
            return f"hookline.csv_text({field})"
        case Kind.AMOUNT:
            return _amount(f"{field}::text", file_format.dialect)
        case Kind.STATUS:
            return _IN_PORTUGUESE if file_format.portuguese else field
        case Kind.TIME:
            time_format = file_format.dialect.time_format
            if time_format is None:
                return _rfc3339(field, file_format.time_zone)
            return f"to_char({field} AT TIME ZONE {literal(file_format.time_zone)}, {literal(time_format)})"
        case Kind.PATH:
            value, text = f"e.payload #> {_path(column.path)}", f"e.payload #>> {_path(column.path)}"
            # Only texts can be taken for formulas: a negative number is none.
            number = _amount(f"({text})", file_format.dialect)
            return f"CASE jsonb_typeof({value}) WHEN 'number' THEN {number} ELSE hookline.csv_text({text}) END"
        case _:
            return field


def _amount(text: str, dialect: Dialect) -> str:
    return f"replace({text}, '.', ',')" if dialect.decimal_comma else text


def _rfc3339(field: str, time_zone: str) -> str:
    return f"hookline.rfc3339({field})" if time_zone == "UTC" else f"hookline.rfc3339({field}, {literal(time_zone)})"


def _path(path: Sequence[str]) -> str:
    return f"{literal(list(path))}::text[]"


def _identifier(name: str) -> str:
    quoted = name.replace('"', '""')
    return f'"{quoted}"'
