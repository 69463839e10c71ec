"""Whether it is to be done: asked of a person before much is changed, or anything for good."""

import sys

import click


def is_agreed(question: str, *, yes: bool) -> bool:
    """Asks, unless `yes`. When the answer is no, says that nothing was done; the command then ends with LOCAL. Raises
    UsageError where nobody can be asked, since standard input is no terminal, and Abort at Ctrl-C and Ctrl-D."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise click.UsageError("Give --yes to do this without being asked.")
    if click.confirm(question, err=True):
        return True
    click.echo("Nothing was done.", err=True)
    return False
