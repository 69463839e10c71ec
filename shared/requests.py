"""Checks that requests of every service share. Each raises InvalidField, naming the field."""

import uuid

from shared.errors import InvalidField, Violation
from shared.names import NAME_RULE, is_name


def company(company_id: str) -> str:
    """A company's id."""
    if not company_id:
        raise InvalidField(Violation("company_id", "is required"))
    if not is_name(company_id):
        raise InvalidField(Violation("company_id", NAME_RULE))
    return company_id


def uuid_of(text: str, field: str) -> uuid.UUID:
    """An id that we gave out."""
    if not text:
        raise InvalidField(Violation(field, "is required"))
    try:
        # Only the form that we give out: no braces, no "urn:uuid:".
        if len(text) != 36:
            raise ValueError
        return uuid.UUID(text)
    except ValueError:
        raise InvalidField(Violation(field, "is no UUID")) from None


def source(name: str) -> str:
    """A source's name."""
    if not name:
        raise InvalidField(Violation("source", "is required"))
    if not is_name(name):
        raise InvalidField(Violation("source", NAME_RULE))
    return name


def page_size(requested: int, default: int, most: int) -> int:
    """How many rows a page has."""
    if requested < 0:
        raise InvalidField(Violation("page_size", "can't be negative"))
    return min(requested or default, most)
