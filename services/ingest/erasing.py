"""What of a company's data is a person's: rules for finding an e-mail address and a document in what was stored. Pure.

PostgreSQL sorts out with `Person.pattern` what can't be the person's; the rules here decide on the rest.
"""

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import unquote, unquote_plus

import msgspec

MAX_EMAIL_CHARACTERS = 320
LEAST_DOCUMENT_CHARACTERS = 6
MOST_DOCUMENT_CHARACTERS = 40
ERASED_KEY = "erased:"
"""What a dedup key begins with whose own text was a person's."""

_is_erased_key = re.compile(ERASED_KEY + "[0-9a-f]{64}").fullmatch
_decode = msgspec.json.Decoder(float_hook=Decimal).decode
_is_email = re.compile(r"[^\s@\x00-\x1f]+@[^\s@\x00-\x1f]+").fullmatch
# In place of a character that is no letter or digit of ASCII: itself, or what URLs, JSON and PostgreSQL's way to write
# bytes make of it. More than the rules take.
_OTHER = r"(?:%(?:25)*[0-9a-f]{2}|\\+u[0-9a-f]{4}|\\+[0-7]{3}|\\+[bfnrt]|[^0-9a-z])"
_MOST_LAYERS = 5
_SEPARATORS = r"[\W_]{0,3}"
_escape = re.compile(r"\\(?:u([0-9a-fA-F]{4})|([bfnrt])|(.))", re.DOTALL)


class Person:
    """A person, by e-mail address, document or both. Raises ValueError, its text beginning with the field's name, when
    one of them is none, or neither is given."""

    def __init__(self, email: str, document: str) -> None:
        email = email.strip()
        self._document = "".join(filter(str.isalnum, document)).upper()
        if not (email or document):
            raise ValueError("email: an e-mail address or a document is required")
        if email and not (_is_email(email) and len(email) <= MAX_EMAIL_CHARACTERS):
            raise ValueError("email: is no e-mail address")
        if document and not (
            self._document.isascii()
            and LEAST_DOCUMENT_CHARACTERS <= len(self._document) <= MOST_DOCUMENT_CHARACTERS
            and self._document.strip("0")
        ):
            raise ValueError(
                f"document: needs {LEAST_DOCUMENT_CHARACTERS} to {MOST_DOCUMENT_CHARACTERS} letters and digits of ASCII"
            )
        rules, patterns = [], []
        if email:
            rules.append(_email_rule(email))
            patterns.append("".join((_is_plain(one) and one) or ".{1,16}" for one in email))
        self._number = ""
        if document:
            rules.append(_document_rule(self._document))
            # As a number, a document loses the zeros that it begins with.
            shorter = self._document.lstrip("0")
            if self._document.isdigit() and len(shorter) >= LEAST_DOCUMENT_CHARACTERS:
                self._number = shorter
            patterns.append(f"{_OTHER}*".join(self._number or self._document))
        self._find = re.compile("|".join(rules), re.IGNORECASE).search
        self.pattern = f"(?:{'|'.join(patterns)})"
        """A regular expression of PostgreSQL, to be used without regard to case: whatever text holds the person's data
        matches it, in whatever way JSON, URLs or PostgreSQL (bytea as `escape`) write it."""

    def is_in_text(self, text: str | None) -> bool:
        """Whether a text is the person's."""
        return text is not None and any(self._find(way) for way in _ways_to_read(text))

    def is_in_key(self, dedup_key: str) -> bool:
        """Whether a dedup key is the person's."""
        return _is_erased_key(dedup_key) is None and self.is_in_text(dedup_key)

    def is_in_json(self, payload: bytes) -> bool:
        """Whether JSON is the person's: by any text in it, a member's name too, or by a number that is the document."""
        return self._is_in(_decode(payload))

    def is_in_body(self, body: bytes) -> bool:
        """Whether what came as bytes is the person's: by its texts where it is JSON, else by its characters as they are
        and with the escapes of URLs and JSON undone."""
        try:
            content = _decode(body)
        except (msgspec.DecodeError, UnicodeError, ArithmeticError, RecursionError):
            text = body.decode(errors="replace")
            return self.is_in_text(text) or self.is_in_text(unquote_plus(text))
        return self._is_in(content)

    def _is_in(self, content: Any) -> bool:
        return any(
            self.is_in_text(leaf) if isinstance(leaf, str) else self._is_number(leaf) for leaf in _leaves(content)
        )

    def _is_number(self, number: int | Decimal) -> bool:
        if not self._number:
            return self._document.isdigit() and str(number) == self._document
        # Compared as text: 1e1000 would be a very long number.
        return str(number).removesuffix(".0") == self._number or (
            isinstance(number, Decimal) and number == Decimal(self._number)
        )


def _is_plain(character: str) -> bool:
    return character.isascii() and character.isalnum()


def _email_rule(email: str) -> str:
    # Not the end of a longer address, nor its beginning. A full stop may end the sentence.
    return rf"(?<![\w.+-]){re.escape(email)}(?![\w-]|\.\w)"


def _document_rule(document: str) -> str:
    edges = [r"\d" if edge.isdigit() else r"[^\W_]" for edge in (document[0], document[-1])]
    return rf"(?<!{edges[0]}){_SEPARATORS.join(document)}(?!{edges[1]})"


def _ways_to_read(text: str) -> Iterator[str]:
    """The text; and what it may stand for: texts hold URLs, and JSON as a text, which may hold such texts again."""
    for _ in range(_MOST_LAYERS):
        yield text
        peeled = unquote(text) if "%" in text else text
        if "\\" in peeled:
            peeled = _escape.sub(lambda found: chr(int(found[1], 16)) if found[1] else found[3] or " ", peeled)
        if peeled == text:
            return
        text = peeled


def _leaves(content: Any) -> Iterator[str | int | Decimal]:
    """Every text and number at any depth, members' names among them."""
    left: list[Any] = [content]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += _parts(value)
        elif isinstance(value, list):
            left += value
        elif isinstance(value, str | int | Decimal) and not isinstance(value, bool):
            yield value


def _parts(members: dict[str, Any]) -> Iterable[Any]:
    yield from members
    yield from members.values()
