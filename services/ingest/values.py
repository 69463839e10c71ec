"""What single values of a payload mean: amounts of money, currencies, names, keys. Pure."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from decimal import Context, Decimal
from typing import Any

from iso4217 import Currency

from services.ingest.erasing import ERASED_KEY
from services.ingest.references import text_of

NAME_CHARACTERS = 500
"""Customer and product names are cut after so many: they are for listing, the payload holds the whole."""
KEY_BYTES = 255
"""A longer dedup key is replaced by its SHA-256."""
MINOR_DIGITS: Mapping[str, int] = {
    currency.value: currency.exponent for currency in Currency if currency.exponent is not None
}
"""How many digits the minor unit of a currency has, by ISO 4217."""
_USUAL_DIGITS = 2
_TOTAL_LIMIT = Decimal(10) ** 18
_TOTAL_CHARACTERS = 60
_SHORT = 18
_EXACT = Context(prec=1_000_000)
_is_decimal = re.compile(r"\s*[+-]?[0-9]+(\.[0-9]+)?\s*").fullmatch
# Points only between thousands, and at most two digits of centavos: "1.169" is 1169, and "1,169" is left alone, since
# whoever wrote it may have meant the same.
_brazilian = re.compile(
    r"\s*(?P<minus>[-−]?)\s*(?:R\$)?\s*(?P<inner>[-−]?)\s*"
    r"(?P<whole>[1-9][0-9]{0,2}(?:\.[0-9]{3})+|[0-9]+)(?:,(?P<cents>[0-9]{1,2}))?\s*"
).fullmatch


def decimal_of(value: Any, *, is_brazilian: bool) -> Decimal:
    """The number that a total is. Raises ValueError, with a sentence, when it is none."""
    if isinstance(value, str):
        if is_brazilian:
            return _from_brazilian(value)
        if not _is_decimal(value):
            raise ValueError("the total is no plain decimal number")
    elif isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("the total is neither a number nor a text")
    return Decimal(value)


def _from_brazilian(text: str) -> Decimal:
    found = _brazilian(text)
    if found is None or (found["minus"] and found["inner"]):
        raise ValueError("the total is no amount as Brazilians write it")
    amount = Decimal(found["whole"].replace(".", "") + "." + (found["cents"] or ""))
    return -amount if found["minus"] or found["inner"] else amount


def minor_digits(currency: str | None, own: Mapping[str, int]) -> int:
    """How many digits the minor unit has; `own`: where a platform differs. Two for a currency that nobody knows."""
    if currency is None:
        return _USUAL_DIGITS
    return own.get(currency, MINOR_DIGITS.get(currency, _USUAL_DIGITS))


def amount_text(number: Decimal, digits: int) -> str:
    """An amount as a plain decimal number; `digits`: how many digits of `number` are in the minor unit. Raises
    ValueError, with a sentence, when it is too large or too long."""
    amount = number.scaleb(-digits, _EXACT) if digits else number
    text = str(amount)
    if "E" in text:
        text = f"{amount:f}"
    # A short text is below the limit: no need to look.
    if len(text) > _SHORT and (abs(number) >= _TOTAL_LIMIT or len(text) > _TOTAL_CHARACTERS):
        raise ValueError("the total is no amount of money: it has too many digits")
    return text


def currency_of(value: Any) -> str | None:
    """A currency's code, None when it is none."""
    code = text_of(value)
    return code.upper() if code and len(code) == 3 and code.isascii() and code.isalpha() else None


def name_of(value: Any) -> str | None:
    """A name for lists, cut."""
    text = text_of(value)
    return text[:NAME_CHARACTERS] if text is not None else None


def key_of(parts: Sequence[str]) -> str:
    """A dedup key of its parts. Ids by themselves, ids put together, digests, and what stands in place of erased keys
    never come to the same key."""
    if len(parts) > 1:
        # A colon inside a part is escaped: other parts must not come to the same whole.
        key = "".join(":" + part.replace("%", "%25").replace(":", "%3A") for part in parts)
        is_its_own = True
    else:
        [key] = parts
        is_its_own = not key.startswith((":", "sha256:", ERASED_KEY))
    if is_its_own and len(key.encode()) <= KEY_BYTES:
        return key
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()
