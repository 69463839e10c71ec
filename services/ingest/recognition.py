"""Whose delivery is it, when nobody says? By the marks that a platform's file gives. Pure.

There are many platforms, and each unnamed event is tried on all of them: so one look for a member that few platforms
have rules most of them out.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from services.ingest.references import Resolve, Sent, resolvers, text_of
from shared.platforms import Recognise
from shared.platforms.references import Body, parse_references


class Recogniser:
    """One platform's marks, their references made into functions once. Of several in one text any will do."""

    def __init__(self, recognise: Recognise) -> None:
        texts = (*recognise.present, *recognise.equal, *recognise.prefix)
        self._places = [parse_references(text) for text in texts]
        self._present = tuple(resolvers(text) for text in recognise.present)
        self._equal = tuple((resolvers(text), str(value)) for text, value in recognise.equal.items())
        self._prefix = tuple((resolvers(text), value) for text, value in recognise.prefix.items())

    def recognises(self, sent: Sent) -> bool:
        """Whether all the marks are there."""
        for resolves in self._present:
            for resolve in resolves:
                if resolve(sent) is not None:
                    break
            else:
                return False
        return all(text in _texts(resolves, sent) for resolves, text in self._equal) and all(
            any(found.startswith(text) for found in _texts(resolves, sent)) for resolves, text in self._prefix
        )

    def is_possible_without_headers(self) -> bool:
        """Whether a payload alone can have all the marks."""
        return all(any(isinstance(one, Body) for one in places) for places in self._places)

    def members(self, *, with_headers: bool) -> Iterator[str]:
        """Members that every payload of the platform's has; `with_headers`: whether headers may stand in."""
        for places in self._places:
            members = [one.steps[0] for one in places if isinstance(one, Body)]
            if len(members) == 1 and (len(places) == 1 or not with_headers):
                yield str(members[0])


def _texts(resolves: Iterable[Resolve], sent: Sent) -> Sequence[str]:
    return [text for resolve in resolves if (text := text_of(resolve(sent))) is not None]


Look = tuple[str, str | None]
"""A platform's name and a member that its payloads have. None: there is no such member."""


def looks(recognisers: Mapping[str, Recogniser], *, with_headers: bool) -> Sequence[Look]:
    """For each platform that is possible at all the member that the fewest platforms have."""
    members = {
        name: set(one.members(with_headers=with_headers))
        for name, one in recognisers.items()
        if with_headers or one.is_possible_without_headers()
    }
    times = Counter(member for its in members.values() for member in its)
    return [(name, min(its, key=lambda member: (times[member], member), default=None)) for name, its in members.items()]
