"""HOOKLINE_SECRET_KEY: one key, or several with commas in between while it is changed."""

from collections.abc import Sequence

from shared.errors import OperatorError


def secret_keys(secret_key: str) -> Sequence[str]:
    """The keys of the setting, at least one: the first encrypts and signs, what was made with any is taken. Raises
    OperatorError when one of several is empty: anybody could sign with that."""
    keys = secret_key.split(",")
    if len(keys) > 1 and not all(map(str.strip, keys)):
        raise OperatorError("HOOKLINE_SECRET_KEY has a comma with no key before or after it.")
    return keys
