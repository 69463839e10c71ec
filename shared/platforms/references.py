"""How a platform's file says where a value is: the grammar. `services.ingest.references` looks the values up."""

import re
from collections.abc import Sequence

import msgspec

MAX_CHARACTERS = 500
_is_header = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+").fullmatch
_is_parameter = re.compile(r"[!-~]+").fullmatch
_is_position = re.compile(r"[0-9]{1,6}").fullmatch
_member = re.compile(r"([^\[\]:]+)(?:\[(?:!([^\[\]:!]+))?(\]))?").fullmatch


class Each(msgspec.Struct, frozen=True):
    """Every item of a list, without those whose member `unless` is true."""

    unless: str | None


Step = str | int | Each
"""A member's name, a position in a list, or all of a list."""


class Body(msgspec.Struct, frozen=True):
    """A value in the payload, or the values of a list in it."""

    steps: tuple[Step, ...]

    @property
    def is_plain(self) -> bool:
        """Whether it leads to one value, not to a list's many."""
        return not any(isinstance(step, Each) for step in self.steps)


class Header(msgspec.Struct, frozen=True):
    """An HTTP header, its name in lower case."""

    name: str


class Query(msgspec.Struct, frozen=True):
    """A parameter of the URL."""

    name: str


Reference = Body | Header | Query


def parse_references(text: str) -> Sequence[Reference]:
    """Reads references that are separated by one space each. Raises ValueError with a sentence that says what is wrong
    with which."""
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"a reference has at most {MAX_CHARACTERS} characters")
    return [_parse(one, text) for one in text.split(" ")]


def _parse(text: str, whole: str) -> Reference:
    kind, colon, name = text.partition(":")
    match kind if colon else "body":
        case "header":
            if not _is_header(name):
                raise ValueError(f"{whole!r} names no header: header names are written in lower case")
            return Header(name)
        case "query":
            if not _is_parameter(name):
                raise ValueError(f"{whole!r} names no parameter of a query")
            return Query(name)
        case "body":
            return Body(tuple(step for part in text.split(".") for step in _steps(part, whole)))
        case _:
            raise ValueError(f"{whole!r} is neither a path in the payload nor header:… or query:…")


def _steps(part: str, whole: str) -> Sequence[Step]:
    found = _member(part)
    if found is None:
        raise ValueError(f"{whole!r} is no reference: {part!r} is neither a member, a position, nor a member with []")
    member, unless, is_list = found.groups()
    step: Step = member
    if _is_position(member):
        step = int(member)
    elif member.isascii() and member.isdecimal():
        raise ValueError(f"{whole!r} is no reference: there are no positions of more than six digits")
    return [step, Each(unless)] if is_list else [step]
