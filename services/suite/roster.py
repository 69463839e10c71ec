"""Which services make up the suite. A new one is one more entry."""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.settings import Settings


@dataclass(frozen=True)
class Service:
    """One process of the suite, started as `python -m <module>`."""

    name: str
    module: str
    address: str | None
    """Where it serves gRPC, as HOOKLINE_<NAME>_ADDRESS says. None: it serves none."""
    health: bool
    """Whether it answers gRPC health checks there. One that doesn't counts as healthy once it runs."""
    http_address: str | None = None
    """Where it takes HTTP, as HOOKLINE_HTTP_ADDRESS says."""
    processes: int = 1
    """As how many processes it runs, each with metrics of its own."""


def services(settings: Settings) -> Sequence[Service]:
    """The suite's services, in the order of starting. The sandbox shop only where the settings give it an address."""
    sandbox, several = settings.sandbox_address, settings.processes
    return (
        Service("ingest", "services.ingest", settings.ingest_address, True, settings.http_address, several),
        Service("export", "services.export", settings.export_address, health=True, processes=several),
        Service("sync", "services.sync", settings.sync_address, health=True),
        Service("sync-worker", "services.sync.worker", None, health=False),
        Service("sync-scheduler", "services.sync.scheduler", None, health=False),
        *([Service("sandbox", "services.sandbox", sandbox, health=False)] if sandbox else []),
    )
