"""The names that callers give: companies, sources, platforms. One rule for all of them."""

import re

NAME_RULE = 'letters, digits, "_", "-" and ".", starting with a letter or digit, at most 64 characters'
_is_name = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}").fullmatch


def is_name(text: str) -> bool:
    """Whether `text` can be the name of a company, a source or a platform."""
    return _is_name(text) is not None
