"""Bodies that are HTML forms, made into JSON before anything looks at them. Pure.

Names may be nested as PHP nests them: `data[customer][name]`, `items[0][name]`, `items[][name]`, `tags[]`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

HEADER = "content-type"
TYPE = "application/x-www-form-urlencoded"
MAX_BYTES = 256 * 1024
"""Undoing escapes takes long: many times what reading JSON does."""
MAX_FIELDS = 1000
"""As many as PHP takes: whoever sends more is understood by few."""
MAX_DEPTH = 20
"""A name with more parts is no webhook's."""
_begins_as_json = re.compile(rb"\s*[{\[]").match
_is_nested = re.compile(r"[^\[\]]+(?:\[[^\[\]]*\])+").fullmatch
_ITEM = ""
"""The part of a name that stands for one more item."""
_encode = msgspec.json.Encoder().encode

_Tree = dict[str, Any]
"""Members by their names: each a tree, or a list of texts and trees."""


class FormMalformed(ValueError):
    """A form that can't be made into JSON. The text says why, and quotes nothing of it."""


def is_form(headers: Mapping[str, str]) -> bool:
    """Whether the headers, their names in lower case, say that the body is a form."""
    given = headers.get(HEADER)
    return given is not None and given.partition(";")[0].strip().lower() == TYPE


def to_json(body: bytes, max_bytes: int) -> bytes:
    """A form as a JSON object of at most `max_bytes`: names to texts, in UTF-8 whatever the headers say; a list where a
    name comes several times. Raises FormMalformed.

    What begins as JSON does is left as it is: some say that they send a form and send JSON, and no form begins so."""
    if _begins_as_json(body):
        return body
    if len(body) > MAX_BYTES:
        raise FormMalformed(f"the form has {len(body)} bytes; at most {MAX_BYTES} are taken")
    if body.count(b"&") >= MAX_FIELDS:
        raise FormMalformed(f"the form has more than {MAX_FIELDS} fields")
    pairs = [field.partition(b"=") for field in body.split(b"&") if field]
    try:
        fields = [(_text(name), _text(value)) for name, _, value in pairs]
    except UnicodeDecodeError:
        raise FormMalformed("the form is not UTF-8") from None
    tree: _Tree = {}
    for name, text in fields:
        _put(tree, name.replace("]", "").split("[") if _is_nested(name) else [name], text)
    # The outermost is an object, whatever its members are called.
    json = _encode({name: _value(member) for name, member in tree.items()})
    if len(json) > max_bytes:
        raise FormMalformed(f"the form has {len(json)} bytes as JSON; at most {max_bytes} are taken")
    return json


def _text(raw: bytes) -> str:
    return unquote_to_bytes(raw.replace(b"+", b" ")).decode()


def _put(tree: _Tree, path: Sequence[str], text: str) -> None:
    if len(path) > MAX_DEPTH:
        raise FormMalformed("the form is nested too deeply")
    *outer, last = path
    for depth, name in enumerate(outer):
        tree = _item(_inner(tree, name, []), path[depth + 1 :]) if name == _ITEM else _inner(tree, name, {})
    _inner(tree, last, []).append(text)


def _inner(tree: _Tree, name: str, empty: Any) -> Any:
    """What is under a name, a list or a tree as `empty` is."""
    inner = tree.setdefault(name, empty)
    if type(inner) is not type(empty):
        raise FormMalformed("a name in the form stands for a text and for an object")
    return inner


def _item(items: list[Any], path: Sequence[str]) -> _Tree:
    """The item that one more member belongs to: the last one, unless it holds that member already."""
    if not items or _holds(items[-1], path):
        items.append({})
    item: _Tree = items[-1]
    return item


def _holds(value: Any, path: Sequence[str]) -> bool:
    for name in path:
        if type(value) is not dict:
            return type(value) is str
        if name not in value:
            return False
        value = value[name]
    return True


def _value(member: Any) -> Any:
    match member:
        case str():
            return member
        case [alone]:
            return _value(alone)
        case list():
            return [_value(item) for item in member]
    if member.keys() == {_ITEM}:
        return [_value(item) for item in member[_ITEM]]
    # Numbers are positions if they are all of them from 0 on, in whatever order they came.
    positions = [str(number) for number in range(len(member))]
    if member.keys() == set(positions):
        return [_value(member[position]) for position in positions]
    return {name: _value(inner) for name, inner in member.items()}
