"""The part of the client for asyncio that deals with alerts. Each method is documented in `blocking_alerts`."""

from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING

from hookline.client import alerts
from hookline.client.aio_calls import Calls
from hookline.client.retry import Service
from hookline.sync.v1.alert_service_pb2 import (
    Alert,
    AlertChannel,
    CreateAlertChannelResponse,
    DeleteAlertChannelRequest,
    ListAlertChannelsRequest,
    ListAlertsRequest,
    TestAlertRequest,
    TestAlertResponse,
)

if TYPE_CHECKING:
    # The name is in the type stubs only.
    from hookline.sync.v1.alert_service_pb2_grpc import AlertServiceAsyncStub


class AlertCalls(Calls):
    """What `AsyncClient` does with alerts and their channels."""

    _sync_service: Service
    _alert_stub: "AlertServiceAsyncStub"

    def list_alerts(
        self, company: str, source: str = "", *, open_only: bool = False, page_size: int = 0
    ) -> AsyncGenerator[Alert, None]:
        """Goes through the alerts: see `Client.list_alerts`."""
        request = ListAlertsRequest(company_id=company, source=source, open_only=open_only, page_size=page_size)
        return self._items(self._sync_service, self._alert_stub.ListAlerts, request, lambda page: page.alerts)

    async def create_alert_channel(
        self, company: str, channel: str, *, webhook_url: str = "", email: str = ""
    ) -> CreateAlertChannelResponse:
        """Makes a channel that alerts go to: see `Client.create_alert_channel`."""
        request = alerts.create_channel(company, channel, webhook_url, email)
        # Spends all patience on what may be asked again, before what may not.
        await self.list_alert_channels(company)
        return await self._call_once(self._sync_service, self._alert_stub.CreateAlertChannel, request)

    async def list_alert_channels(self, company: str) -> Sequence[AlertChannel]:
        """Gives all of the company's channels: see `Client.list_alert_channels`."""
        request = ListAlertChannelsRequest(company_id=company)
        return (await self._call(self._sync_service, self._alert_stub.ListAlertChannels, request)).channels

    async def delete_alert_channel(self, company: str, channel: str) -> None:
        """Removes a channel: see `Client.delete_alert_channel`."""
        request = DeleteAlertChannelRequest(company_id=company, channel=channel)
        await self._call(self._sync_service, self._alert_stub.DeleteAlertChannel, request)

    async def test_alert(self, company: str, channel: str) -> TestAlertResponse:
        """Delivers a test to a channel now: see `Client.test_alert`."""
        request = TestAlertRequest(company_id=company, channel=channel)
        return await self._call(self._sync_service, self._alert_stub.TestAlert, request)
