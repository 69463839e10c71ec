"""Which connector reads a source."""

from services.sync.connectors import Connector, Refused
from services.sync.connectors.authorization import authorization
from services.sync.connectors.backoff import ATTEMPTS
from services.sync.connectors.declared import DeclaredConnector
from services.sync.connectors.hookline import HooklineConnector
from services.sync.connectors.http import Http
from services.sync.connectors.paging import Pager
from services.sync.source_store import Secret
from shared.platforms import Platform


def opening(
    source: Secret, platform: Platform, http: Http, credential: str, *, first_wait: float, attempts: int = ATTEMPTS
) -> Connector:
    """A connector for the source, to be closed. Asks nothing yet. `first_wait` is the wait before the first retry of a
    request, in seconds. Raises Refused where the platform has no history, or asks for what the source does not say: the
    company's own mapping may have changed since."""
    history = platform.history
    if history is None:
        raise Refused(f"{platform.title} has no history that can be pulled.")
    if lacking := [name for name in history.parameters if not source.parameters.get(name)]:
        raise Refused(f"The source lacks what {platform.title} needs to be told: {', '.join(lacking)}.")
    if history.protocol == "hookline":
        return HooklineConnector(
            source.base_url,
            credential,
            source.parameters,
            first_wait=first_wait,
            attempts=attempts,
            allow_loopback=http.allow_loopback,
            roots=http.roots,
        )
    return DeclaredConnector(
        Pager(platform, source.base_url, source.parameters),
        http,
        authorization(history, source.base_url, credential, http),
        first_wait=first_wait,
        attempts=attempts,
    )
