"""Where in Redis or Valkey the export service keeps what it has worked out, and ingest finds what is of a company, to
take it away when a person is erased."""

PREFIX = "hookline:cache:"
"""What all keys begin with. `<kind>:<version>:<company>:…` follows."""


def pattern_of(company_id: str) -> str:
    """What matches all keys of a company, as SCAN takes it. No character of a company's id means anything to it."""
    return f"{PREFIX}*:{company_id}:*"
