"""The shop as a whole: a server to pull from, and the means to steer it, in process or over HTTP."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Annotated, Any, Self, TypeVar

import msgspec
from aiohttp import web

from services.sandbox.api import HistoryApi, Served
from services.sandbox.faults import FaultPlan, Faults
from services.sandbox.history import History, to_milliseconds
from shared.errors import OperatorError
from shared.settings import is_loopback, split_address

TOKEN = "sandbox-token"  # noqa: S105  # known to everyone on purpose
WEBHOOK_SETTING_ID = "shop-1"

T = TypeVar("T")


class SandboxShop:
    """The sandbox shop, as an asynchronous context manager: it serves while entered, on a free port unless told.

    `payloads` and the arguments up to `span`: see History. `late_after`: the late events are listed to whoever comes
    after that many requests; None: once told to publish. `faults`: how it fails from the start.

    Entering raises OperatorError when the address can be reached from other machines or can't be had. Leaving ends
    requests that hang or are held. Enter it once.
    """

    def __init__(
        self,
        payloads: Iterable[bytes],
        *,
        events: int = 10_000,
        seed: int = 1,
        duplicates: float = 0,
        late: float = 0,
        end: datetime | None = None,
        span: timedelta = timedelta(days=20),
        late_after: int | None = None,
        faults: Faults = Faults(),  # noqa: B008  # frozen
        token: str = TOKEN,
        webhook_setting_id: str = WEBHOOK_SETTING_ID,
        address: str = "127.0.0.1:0",
    ) -> None:
        self._history = History(
            payloads, events=events, seed=seed, duplicates=duplicates, late=late, end=end, span=span
        )
        self._seed = seed
        self._first_faults = faults
        self._api = HistoryApi(
            self._history,
            FaultPlan(faults, seed),
            token=token,
            webhook_setting_id=webhook_setting_id,
            late_after=late_after,
        )
        self._address = address
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where it serves, such as "http://127.0.0.1:8090". Only while entered."""
        assert self._runner
        host, port = self._runner.addresses[0][:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def served(self) -> Served:
        """What it has done so far."""
        return self._api.served

    @property
    def faults(self) -> Faults:
        """How it fails. Setting them forgets which pages have failed already."""
        return self._api.plan.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._api.plan = FaultPlan(faults, self._seed)

    def gate(self, after: int = 0) -> None:
        """Serves `after` more pages, then holds every request that would get one, until `release` or another `gate`.
        Requests that fail pass."""
        self._api.gate.close(after)

    def release(self) -> None:
        """Serves those held, and everyone."""
        self._api.gate.open()

    @property
    def payloads(self) -> Mapping[int, bytes]:
        """Those of the different events that it lists now, as it was given them, by the events' numbers."""
        return self._history.payloads

    def withheld(self, since: datetime) -> int:
        """How many late events of that time or later are not listed yet."""
        return self._history.withheld(to_milliseconds(since))

    def publish(self) -> int:
        """Lists the late events; says how many: 0 the second time."""
        return self._history.publish()

    def add(self, count: int = 1, created: datetime | None = None) -> Sequence[str]:
        """Lists new events: all of the time `created`, or else one a millisecond up to now. Gives their items' ids.
        Raises ValueError when `payloads` run out."""
        return self._history.add(count, created)

    def revoke(self) -> None:
        """Takes no access token any more, as if they had run out: a new one must be asked for."""
        self._api.revoke()

    def reset(self) -> None:
        """Counts from zero, fails as at the start, holds nothing. What is listed stays."""
        self._api.forget()
        self.faults = self._first_faults
        self.release()

    async def __aenter__(self) -> Self:
        host, port = split_address(self._address)
        if not is_loopback(host):
            raise OperatorError(
                f"{self._address} can be reached from other machines; the sandbox shop is for this one."
            )
        application = web.Application()
        application.add_routes([web.get("/healthz", _healthz), *self._api.routes(), *_control(self)])
        # A client that gives up ends its request; closing waits for none.
        self._runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError:
            await self._runner.cleanup()
            raise OperatorError(
                f"{self._address} can't be listened on: the port is taken or the host is not ours."
            ) from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._runner
        await self._runner.cleanup()


class _Gate(msgspec.Struct, forbid_unknown_fields=True):
    after: Annotated[int, msgspec.Meta(ge=0)] = 0


class _Add(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    count: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1
    created_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class _Nothing(msgspec.Struct, forbid_unknown_fields=True):
    pass


def _control(shop: SandboxShop) -> Iterable[web.RouteDef]:
    """The methods over HTTP: JSON in (no body: the defaults), JSON out, 400 for what is wrong."""

    def set_faults(faults: Faults) -> Served:
        shop.faults = faults
        return shop.served

    def gate(body: _Gate) -> Served:
        shop.gate(body.after)
        return shop.served

    def release(body: _Nothing) -> Served:
        shop.release()
        return shop.served

    def reset(body: _Nothing) -> Served:
        shop.reset()
        return shop.served

    def revoke(body: _Nothing) -> Served:
        shop.revoke()
        return shop.served

    return (
        web.get("/control/served", _json(_Nothing, lambda body: shop.served)),
        web.put("/control/faults", _json(Faults, set_faults)),
        web.post("/control/gate", _json(_Gate, gate)),
        web.post("/control/release", _json(_Nothing, release)),
        web.post("/control/reset", _json(_Nothing, reset)),
        web.post("/control/revoke", _json(_Nothing, revoke)),
        web.post("/control/publish", _json(_Nothing, lambda body: {"published": shop.publish()})),
        web.post("/control/add", _json(_Add, lambda body: {"ids": shop.add(body.count, body.created_at)})),
    )


def _json(body: type[T], act: Callable[[T], Any]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        try:
            answer = act(msgspec.json.decode(await request.read() or b"{}", type=body))
        except ValueError as error:  # msgspec's errors are ValueErrors too
            return web.json_response({"error": str(error)}, status=400)
        return web.Response(body=msgspec.json.encode(answer), content_type="application/json")

    return handle


async def _healthz(request: web.Request) -> web.Response:
    return web.json_response({"status": "serving"})
