"""JSON as something to spoil: members may come twice, and a value may be any bytes."""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from shared.platforms.references import Body, Each, Step


@dataclass(frozen=True)
class Raw:
    """A value as it is written, right or wrong."""

    text: bytes


class Members(list[tuple[str, Any]]):
    """An object: its members in order."""


Tree: TypeAlias = Any
"""Members, list, Raw, or what JSON has beside them."""
Place = tuple[Members | list[Any], int]
"""A value's container, and its position there."""


def parse(text: bytes | str) -> Tree:
    return json.loads(text, object_pairs_hook=Members)


def dump(tree: Tree) -> bytes:
    match tree:
        case Raw():
            return tree.text
        case Members():
            return b"{" + b",".join(_string(name) + b":" + dump(value) for name, value in tree) + b"}"
        case list():
            return b"[" + b",".join(dump(value) for value in tree) + b"]"
        case str():
            return _string(tree)
    return json.dumps(tree).encode()


def _string(text: str) -> bytes:
    try:
        # As platforms write them: characters beyond ASCII as they are.
        return json.dumps(text, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(text).encode()


def places(tree: Tree) -> Iterator[Place]:
    """Where every value in the tree is."""
    waiting = [tree]
    while waiting:
        container = waiting.pop()
        if not isinstance(container, list):
            continue
        for position, item in enumerate(container):
            yield container, position
            waiting.append(item[1] if isinstance(container, Members) else item)


def get(place: Place) -> Tree:
    container, position = place
    return container[position][1] if isinstance(container, Members) else container[position]


def put(place: Place, value: Tree) -> None:
    container, position = place
    if isinstance(container, Members):
        container[position] = (container[position][0], value)
    else:
        container[position] = value


def put_at(tree: Tree, path: Body, value: Tree, rng: random.Random) -> Tree:
    """The tree with the value where the path leads, whatever stands in between; in a list of many, in one of them."""
    return _put_at(tree, path.steps, value, rng)


def _put_at(tree: Tree, steps: Sequence[Step], value: Tree, rng: random.Random) -> Tree:
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if isinstance(step, str):
        members = tree if isinstance(tree, Members) else Members()
        for position, (name, inside) in enumerate(members):
            if name == step:
                members[position] = (name, _put_at(inside, rest, value, rng))
                return members
        members.append((step, _put_at(None, rest, value, rng)))
        return members
    items = tree if isinstance(tree, list) and not isinstance(tree, Members) else []
    position = rng.randrange(len(items) + 1) if isinstance(step, Each) else min(step, 3)
    items.extend([None] * (position + 1 - len(items)))
    items[position] = _put_at(items[position], rest, value, rng)
    return items
