"""What `run` prints once all is healthy: commands to paste, with the real addresses."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from services.sandbox.shop import TOKEN, WEBHOOK_SETTING_ID

_SAMPLE = (
    '{"eventType":"pix_created","eventId":"evt_1001","orderId":"ord_501","total":197.90,'
    '"customer":{"name":"Ana Souza"},"product":{"name":"Curso de Violão"}}'
)
_METHOD = "hookline.ingest.v1.IngestService/IngestEvent"


def welcome(
    addresses: Mapping[str, str],
    database_url: str,
    psql: Path | None,
    *,
    tokens: bool = False,
    tls: Mapping[str, str] | None = None,
) -> str:
    """The commands, for Linux and macOS. `psql` is that of an embedded PostgreSQL: another one's URL may hold a
    password, and is not printed. `tokens`: calls need one. `tls`: what the command's environment needs to call by TLS;
    other tools, which ask for what there is to call, are not told of then."""
    ingest, sync, export = addresses["ingest"], addresses["sync"], addresses["export"]
    hookline, buf = _beside_python("hookline"), _beside_python("buf")
    # JSON carries a `bytes` field as base64; macOS has no `base64 -w0`. Hence the payload in a shell variable.
    request = """'{"company_id":"demo","event":{"platform":"grapfy","payload":"'"$PAYLOAD"'"}}'"""
    grpcurl = "grpcurl -plaintext"
    sections: list[tuple[str, ...]] = []
    if tokens:
        authorization = ' -H "authorization: Bearer $HOOKLINE_TOKEN"'
        grpcurl, buf = grpcurl + authorization, f"{buf} curl{authorization}"
        python = _beside_python(Path(sys.executable).name)
        where = f"HOOKLINE_DATABASE_URL={shlex.quote(database_url)} " if psql else ""
        sections.append(
            (
                "Make the token that every call needs",
                f"export HOOKLINE_TOKEN=$({where}{python} -m services admin token create"
                " --company demo --scope ingest,sync,export,admin --name demo)",
            )
        )
    else:
        buf = f"{buf} curl"
    if tls:
        variables = (f"export {name}={shlex.quote(value)}" for name, value in tls.items())
        sections.append(("Call by TLS, with names that the certificate has", *variables))
    by_reflection: list[tuple[str, ...]] = [
        (
            "What there is to call",
            f"{grpcurl} {ingest} list",
            f"{grpcurl} {sync} list",
            f"{grpcurl} {export} list",
        ),
        (
            "Send in an event, by grpcurl or by the buf that `make check` installs; a second time it is a DUPLICATE",
            f"PAYLOAD=$(printf '%s' {shlex.quote(_SAMPLE)} | base64 | tr -d '\\n')",
            f"{grpcurl} -d {request} {ingest} {_METHOD}",
            f"{buf} --protocol grpc --http2-prior-knowledge -d {request} http://{ingest}/{_METHOD}",
        ),
    ]
    ca = f"--cacert {shlex.quote(tls['HOOKLINE_TLS_CA'])} " if tls and "HOOKLINE_TLS_CA" in tls else ""
    sections += [
        *([] if tls else by_reflection),
        (
            "Make an endpoint for a platform's webhooks, and be the platform",
            f"URL=$({hookline} endpoint create --company demo --ingest-address {ingest} --platform grapfy)",
            f"curl -sS {ca}--data {shlex.quote(_SAMPLE)} $URL",
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
    return _text(sections)


def _text(sections: Sequence[tuple[str, ...]]) -> str:
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
