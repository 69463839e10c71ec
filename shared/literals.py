"""Parameters written into a statement's text, for COPY: the one command of PostgreSQL that takes no parameters."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any


def inline(sql: str, arguments: Sequence[Any], fragments: Mapping[str, str]) -> str:
    """Replaces $1, $2 … by literals (None, bool, int, str, datetime with a zone, and lists of str), and what stands for
    a fragment, to the letter, by SQL that is safe as it is.

    All in one pass over `sql`: what is put in is not looked at again, so that no text can hold what is then replaced.
    Texts are quoted as PostgreSQL's own quote_literal does, and so hold whatever the server's settings are. Raises
    ValueError for a text with NUL, which no literal can hold, and TypeError for any other type.
    """
    literals = [literal(argument) for argument in arguments]
    places = "|".join([r"\$(\d+)", *map(re.escape, fragments)])
    return re.sub(places, lambda match: literals[int(match[1]) - 1] if match[1] else fragments[match[0]], sql)


def literal(value: Any) -> str:
    """One value as a literal; see `inline`."""
    match value:
        case None:
            return "NULL"
        case bool():
            return "true" if value else "false"
        case int():
            return f"({value})"
        case datetime() if value.tzinfo is not None:
            return _quoted(value.isoformat())
        case str():
            return _quoted(value)
        case list():
            # Typed by the statement's own cast, also when empty.
            return "ARRAY[" + ", ".join(_quoted(item) for item in value) + "]"
        case _:
            raise TypeError(f"no literal for {type(value).__name__}")


def _quoted(text: str) -> str:
    if "\0" in text:
        raise ValueError("a text with NUL is no literal")
    quoted = text.replace("'", "''")
    return f" E'{quoted.replace(chr(92), chr(92) * 2)}'" if "\\" in text else f"'{quoted}'"
