"""Looks up what a platform's file refers to: in the payload, the headers and the query. Pure.

The grammar is `shared.platforms.references`; here each reference is made into a function once. A plain path of members,
which nearly all are, costs one look-up a member.
"""

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from shared.platforms.references import Body, Each, Header, Query, Reference, Step, parse_references

MAX_ITEMS = 1000
"""So many items of lists are looked at: names are cut far earlier, and a huge list must not hold up the others."""
# NUL, and what is no character by itself.
_has_unstorable = re.compile(r"[\0\ud800-\udfff]").search


class Sent(msgspec.Struct, frozen=True):
    """What came: the payload's content, the headers by their names in lower case, the parameters of the query."""

    content: dict[str, Any]
    headers: Mapping[str, str]
    query: Mapping[str, str]


Resolve = Callable[[Sent], Any]
"""Gives the value, None where there is none. Never raises."""


def by_lower_name(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Headers by their names in lower case. Those that PostgreSQL could not hold are left out."""
    by_name = {name.lower(): value for name, value in headers.items()}
    # One look at all of them is nearly always enough.
    texts = "".join(by_name.values())
    return by_name if texts.isascii() and "\0" not in texts else _storable(by_name.items())


def parameters(query: str) -> Mapping[str, str]:
    """The parameters of a URL's query; of several with one name the first. Those that PostgreSQL could not hold are
    left out."""
    return _storable(reversed(parse_qsl(query, keep_blank_values=True)))


def _storable(texts: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    return {name: text for name, text in texts if not _has_unstorable(text)}


def resolver(text: str) -> Resolve:
    """A function that looks up what `text` refers to. Raises ValueError when it is no reference."""
    resolves = resolvers(text)
    if len(resolves) == 1:
        return resolves[0]
    return lambda sent: _joined(" ", (resolve(sent) for resolve in resolves))


def resolvers(text: str) -> Sequence[Resolve]:
    """A function for each of the references in `text`. Raises ValueError when one is none."""
    return tuple(_resolve(reference) for reference in parse_references(text))


def first_of(texts: Iterable[str]) -> Resolve:
    """A function that gives the first value that says something: neither null nor an empty text."""
    resolves = tuple(resolver(text) for text in texts)

    def first(sent: Sent) -> Any:
        for resolve in resolves:
            value = resolve(sent)
            if value is not None and value != "":
                return value
        return None

    return first


def first_listed(texts: Iterable[str], listed: Container[str]) -> Resolve:
    """As `first_of`, but what is joined counts only when all of it is there and the whole is listed: without a part
    the others could be the name of something else."""
    alternatives = tuple(resolvers(text) for text in texts)

    def first(sent: Sent) -> Any:
        for resolves in alternatives:
            if len(resolves) == 1:
                value = resolves[0](sent)
                if value is not None and value != "":
                    return value
            else:
                parts = [text for resolve in resolves if (text := text_of(resolve(sent))) is not None]
                if len(parts) == len(resolves) and (whole := " ".join(parts)) in listed:
                    return whole
        return None

    return first


def step_into(value: Any, step: Step) -> Any:
    """One member or one item of a value; None where there is none."""
    if type(value) is dict:
        return value.get(step)
    if type(value) is list and type(step) is int and step < len(value):
        return value[step]
    return None


def text_of(value: Any) -> str | None:
    """A value that identifies, as text: texts, and whole numbers as written. Anything else is none."""
    if type(value) is str:
        return value.strip() or None
    return str(value) if type(value) is int else None


def _resolve(reference: Reference) -> Resolve:
    match reference:
        case Header(name):
            return lambda sent: sent.headers.get(name)
        case Query(name):
            return lambda sent: sent.query.get(name)
        case Body(steps):
            return (
                _in_body(steps)
                if reference.is_plain
                else lambda sent: _joined(", ", _all(sent.content, steps, repeat(None, MAX_ITEMS)))
            )


def _in_body(steps: Sequence[Step]) -> Resolve:
    match steps:
        case [str(name)]:
            return lambda sent: sent.content.get(name)
        case [str(outer), str(name)]:

            def member(sent: Sent) -> Any:
                value = sent.content.get(outer)
                return value.get(name) if type(value) is dict else None

            return member

    def walk(sent: Sent) -> Any:
        value: Any = sent.content
        for step in steps:
            value = step_into(value, step)
        return value

    return walk


def _all(value: Any, steps: Sequence[Step], budget: Iterator[None]) -> Iterator[Any]:
    """All that the steps lead to, as long as the budget lasts: an item looked at is one of it."""
    for position, step in enumerate(steps):
        if isinstance(step, Each):
            for item, _ in zip(value if type(value) is list else (), budget, strict=False):
                if step.unless is None or type(item) is not dict or item.get(step.unless) is not True:
                    yield from _all(item, steps[position + 1 :], budget)
            return
        value = step_into(value, step)
    yield value


def _joined(separator: str, values: Iterable[Any]) -> str | None:
    texts = (text_of(value) for value in values)
    return separator.join(text for text in texts if text is not None) or None
