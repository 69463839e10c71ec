"""What `run` prints once all is healthy: commands to paste, with the real addresses."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from services.sandbox.shop import TOKEN, WEBHOOK_SETTING_ID

_SAMPLE = (
    '{"eventType":"pix_created","eventId":"evt_1001","orderId":"ord_501","total":197.90,'
    '"customer":{"name":"Ana Souza"},"product":{"name":"Curso de Violão"}}'
)
_METHOD = "hookline.ingest.v1.IngestService/IngestEvent"


def welcome(addresses: Mapping[str, str], database_url: str, psql: Path | None) -> str:
    """The commands, for Linux and macOS. `psql` is that of an embedded PostgreSQL: another one's URL may hold a
    password, and is not printed."""
    ingest, sync, export = addresses["ingest"], addresses["sync"], addresses["export"]
    hookline, buf = _beside_python("hookline"), _beside_python("buf")
    # JSON carries a `bytes` field as base64; macOS has no `base64 -w0`. Hence the payload in a shell variable.
    request = """'{"company_id":"demo","event":{"platform":"grapfy","payload":"'"$PAYLOAD"'"}}'"""
    sections = [
        (
            "What there is to call",
            f"grpcurl -plaintext {ingest} list",
            f"grpcurl -plaintext {sync} list",
            f"grpcurl -plaintext {export} list",
        ),
        (
            "Send in an event, by grpcurl or by the buf that `make check` installs; a second time it is a DUPLICATE",
            f"PAYLOAD=$(printf '%s' {shlex.quote(_SAMPLE)} | base64 | tr -d '\\n')",
            f"grpcurl -plaintext -d {request} {ingest} {_METHOD}",
            f"{buf} curl --protocol grpc --http2-prior-knowledge -d {request} http://{ingest}/{_METHOD}",
        ),
        (
            "Make an endpoint for a platform's webhooks, and be the platform",
            f"URL=$({hookline} endpoint create --company demo --ingest-address {ingest} --platform grapfy)",
            f"curl -sS --data {shlex.quote(_SAMPLE)} $URL",
        ),
        (
            "List events, and export them",
            f"{hookline} list --company demo --export-address {export}",
            f"{hookline} export --company demo --export-address {export} --format csv -o events.csv",
        ),
    ]
    if shop := addresses.get("sandbox"):
        where = f"--base-url http://{shop} --parameter webhookSettingId={WEBHOOK_SETTING_ID}"
        sections.append(
            (
                "Pull the history of the sandbox shop, a made-up one on this machine, and then every 6 hours",
                f"HOOKLINE_CREDENTIAL={TOKEN} {hookline} sync source add shop --company demo --sync-address {sync}"
                f" --platform grapfy {where}",
                f"{hookline} sync trigger shop --days-back 30 --company demo --sync-address {sync}",
                f"{hookline} sync start shop --company demo --sync-address {sync}",
            )
        )
    if psql:
        sections.append(("Look into the database", f"{shlex.quote(str(psql))} {shlex.quote(database_url)}"))
    lines = ["", "The suite is up. Ctrl-C stops it; its data stays."]
    for title, *commands in sections:
        lines += ["", f"{title}:", *(f"  {command}" for command in commands)]
    return "\n".join([*lines, ""])


def _beside_python(program: str) -> str:
    """A program of the virtual environment as it is called from the working directory, which its PATH may not name."""
    path = Path(sys.executable).with_name(program)
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return shlex.quote(str(path))
