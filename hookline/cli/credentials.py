"""Credentials and secrets: never arguments, which other users of a machine can see."""

import click


def text_of(held: bytes, what: str) -> str:
    """What was read, without the white space around it. It may come to nothing."""
    try:
        return held.decode().strip()
    except UnicodeDecodeError:
        raise click.UsageError(f"The {what} is not UTF-8 text.") from None
