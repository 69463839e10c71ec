"""What `run` prints once all is healthy: commands to paste, with the real addresses."""

import shlex
from collections.abc import Mapping
from pathlib import Path

_SAMPLE = (
    '{"eventType":"pix_created","eventId":"evt_1001","orderId":"ord_501","total":197.90,'
    '"customer":{"name":"Ana Souza"},"product":{"name":"Curso de Violão"}}'
)
_METHOD = "hookline.ingest.v1.IngestService/IngestEvent"


def welcome(addresses: Mapping[str, str], database_url: str, psql: Path | None) -> str:
    """The commands, for Linux and macOS. `psql` is that of an embedded PostgreSQL: another one's URL may hold a
    password, and is not printed."""
    ingest, export = addresses["ingest"], addresses["export"]
    # JSON carries a `bytes` field as base64; macOS has no `base64 -w0`. Hence the payload in a shell variable.
    request = """'{"company_id":"demo","event":{"platform":"grapfy","payload":"'"$PAYLOAD"'"}}'"""
    steps = [
        ("What there is to call", f"grpcurl -plaintext {ingest} list\n  grpcurl -plaintext {export} list"),
        (
            "Send in an event (again: DUPLICATE)",
            f"PAYLOAD=$(printf '%s' {shlex.quote(_SAMPLE)} | base64 | tr -d '\\n')\n"
            f"  grpcurl -plaintext -d {request} {ingest} {_METHOD}",
        ),
        (
            "The same with the buf that `make check` installs",
            f".venv/bin/buf curl --protocol grpc --http2-prior-knowledge -d {request} http://{ingest}/{_METHOD}",
        ),
        ("List events", "hookline list --company demo"),
        ("Export them", "hookline export --company demo --format csv -o events.csv"),
    ]
    if psql:
        steps.append(("Look into the database", f"{shlex.quote(str(psql))} {shlex.quote(database_url)}"))
    return "\nThe suite is up. Ctrl-C stops it; its data stays.\n" + "".join(
        f"\n{title}:\n  {command}\n" for title, command in steps
    )
