"""The sandbox shop's process: `python -m services.sandbox`."""

import asyncio

import structlog
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.sandbox.faults import Faults
from services.sandbox.shop import TOKEN, WEBHOOK_SETTING_ID, SandboxShop
from services.suite.samples import grapfy_payloads
from shared import server
from shared.errors import OperatorError
from shared.settings import Address, Settings

_MOST_EVENTS = 10_000_000

_log = structlog.get_logger()


class SandboxSettings(BaseSettings):
    """The shop's own settings."""

    model_config = SettingsConfigDict(env_prefix="HOOKLINE_SANDBOX_", extra="ignore")

    address: Address = "127.0.0.1:8090"
    """Where it serves. On this machine only."""
    token: str = TOKEN
    webhook_setting_id: str = WEBHOOK_SETTING_ID
    events: int = Field(default=10_000, ge=0, le=1_000_000)
    seed: int = 1
    duplicates: float = Field(default=0, ge=0, le=0.5)
    """The fraction of events that are listed twice."""
    late: float = Field(default=0, ge=0, le=0.5)
    """The fraction of events that are listed late: see `late_after`."""
    late_after: int | None = Field(default=None, ge=0)
    """After how many requests the late events are listed. None: once told to, by POST /control/publish."""
    failing: float = Field(default=0, ge=0, le=1)
    """The fraction of pages that fail once."""


async def main(settings: Settings, stopping: asyncio.Event) -> None:
    own = _load_settings()
    shop = SandboxShop(
        grapfy_payloads(_MOST_EVENTS, own.seed),
        events=own.events,
        seed=own.seed,
        duplicates=own.duplicates,
        late=own.late,
        late_after=own.late_after,
        faults=Faults(fraction=own.failing),
        token=own.token,
        webhook_setting_id=own.webhook_setting_id,
        address=own.address,
    )
    async with shop:
        _log.info("serving", url=shop.url, events=own.events)
        await stopping.wait()


def _load_settings() -> SandboxSettings:
    try:
        return SandboxSettings()
    except ValidationError as error:
        wrong = error.errors()[0]
        name = "HOOKLINE_SANDBOX_" + "_".join(str(part) for part in wrong["loc"]).upper()
        raise OperatorError(f"{name} is wrong: {wrong['msg'].removeprefix('Value error, ')}.") from None


if __name__ == "__main__":
    server.run("sandbox", main)
