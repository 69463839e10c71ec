"""AlertService: converts requests, calls, converts back."""

import base64
import secrets
import uuid

from aiolimiter import AsyncLimiter
from uuid_utils.compat import uuid7

from hookline.sync.v1 import alert_service_pb2 as pb
from hookline.sync.v1 import alert_service_pb2_grpc
from services.sync import alert_conversion as conversion
from services.sync import alert_store as store
from services.sync.alert_delivery import Deliverer, Undelivered
from services.sync.alert_messages import Message
from shared import audit, db, page_tokens, requests
from shared.audit import Action
from shared.errors import AlertChannelExists, AlertChannelNotFound, AlertChannelsFull, LimitReached, MailNotSetUp
from shared.interceptors import Context
from shared.vault import Vault

SECRET_BYTES = 32
TESTS = 10
"""Of a company's channels: so many at once, and then one each time that TEST_SECONDS are over. They go to addresses
that nobody has shown to be the company's."""
TEST_SECONDS = 60.0
# Where so many companies are counted, those that have all of their tests again are forgotten.
_MANY = 1_000


class AlertServicer(alert_service_pb2_grpc.AlertServiceServicer):
    """See protos/hookline/sync/v1/alert_service.proto."""

    def __init__(self, pool: db.Pool, vault: Vault, deliverer: Deliverer, *, allow_loopback: bool) -> None:
        self._pool = pool
        self._vault = vault
        self._deliverer = deliverer
        self._allow_loopback = allow_loopback
        self._tests: dict[str, AsyncLimiter] = {}

    async def ListAlerts(self, request: pb.ListAlertsRequest, context: Context) -> pb.ListAlertsResponse:
        company_id = requests.company(request.company_id)
        source = requests.source(request.source) if request.source else None
        page_size = requests.page_size(request.page_size, default=50, most=500)
        tie = ("ListAlerts", company_id, source, request.open_only)
        before = page_tokens.decode(request.page_token, uuid.UUID, *tie)
        async with (
            db.acquired(self._pool) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            alerts = await store.list_alerts(
                connection, company_id, source, before, page_size + 1, open_only=request.open_only
            )
            page = alerts[:page_size]
            told = await store.list_deliveries(connection, company_id, [alert.alert_id for alert in page])
        deliveries = conversion.by_alert(told)
        return pb.ListAlertsResponse(
            alerts=[conversion.from_alert(alert, deliveries.get(alert.alert_id, ())) for alert in page],
            next_page_token=page_tokens.encode(page[-1].alert_id, *tie) if len(alerts) > page_size else "",
        )

    async def CreateAlertChannel(
        self, request: pb.CreateAlertChannelRequest, context: Context
    ) -> pb.CreateAlertChannelResponse:
        company_id, name = requests.company(request.company_id), conversion.channel_name(request.channel)
        conversion.check_target(request, allow_loopback=self._allow_loopback)
        if request.email and not self._deliverer.has_mail:
            raise MailNotSetUp
        secret = "" if request.email else f"whsec_{base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()}"
        async with db.acquired(self._pool) as connection, connection.transaction():
            channel = await store.create_channel(
                connection,
                company_id,
                name,
                webhook_url=request.webhook_url or None,
                email=request.email or None,
                secret=self._vault.encrypt(secret) if secret else None,
            )
            if channel is None:
                if await store.get_channel(connection, company_id, name) is None:
                    raise AlertChannelsFull(store.MOST_CHANNELS)
                raise AlertChannelExists(name)
            await audit.record(connection, company_id, Action.ALERT_CHANNEL_CREATED, name)
        return pb.CreateAlertChannelResponse(channel=conversion.from_channel(channel), secret=secret)

    async def ListAlertChannels(
        self, request: pb.ListAlertChannelsRequest, context: Context
    ) -> pb.ListAlertChannelsResponse:
        company_id = requests.company(request.company_id)
        async with db.acquired(self._pool) as connection:
            channels = await store.list_channels(connection, company_id)
        return pb.ListAlertChannelsResponse(channels=[conversion.from_channel(channel) for channel in channels])

    async def DeleteAlertChannel(
        self, request: pb.DeleteAlertChannelRequest, context: Context
    ) -> pb.DeleteAlertChannelResponse:
        company_id, name = requests.company(request.company_id), conversion.channel_name(request.channel)
        async with db.acquired(self._pool) as connection, connection.transaction():
            if not await store.delete_channel(connection, company_id, name):
                raise AlertChannelNotFound(name)
            await audit.record(connection, company_id, Action.ALERT_CHANNEL_DELETED, name)
        return pb.DeleteAlertChannelResponse()

    async def TestAlert(self, request: pb.TestAlertRequest, context: Context) -> pb.TestAlertResponse:
        company_id, name = requests.company(request.company_id), conversion.channel_name(request.channel)
        async with db.acquired(self._pool) as connection:
            channel = await store.get_channel(connection, company_id, name)
        if channel is None:
            raise AlertChannelNotFound(name)
        await self._count_test(company_id)
        try:
            await self._deliverer.deliver(Message(uuid7(), channel))
        except Undelivered as failure:
            return pb.TestAlertResponse(problem=failure.problem)
        return pb.TestAlertResponse(delivered=True)

    async def _count_test(self, company_id: str) -> None:
        """Raises LimitReached."""
        tests = self._tests.get(company_id)
        if tests is None:
            if len(self._tests) >= _MANY:
                self._tests = {company: one for company, one in self._tests.items() if not one.has_capacity(TESTS)}
            tests = self._tests[company_id] = AsyncLimiter(TESTS, TESTS * TEST_SECONDS)
        if not tests.has_capacity():
            raise LimitReached("alert_tests", TEST_SECONDS)
        await tests.acquire()
