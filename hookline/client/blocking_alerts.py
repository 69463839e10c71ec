"""The part of the client for ordinary code that deals with alerts: what needs a person, and who is told of it."""

from collections.abc import Iterator, Sequence

from hookline.client import alerts
from hookline.client.blocking_calls import Calls
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
from hookline.sync.v1.alert_service_pb2_grpc import AlertServiceStub


class AlertCalls(Calls):
    """What `Client` does with alerts and their channels."""

    _sync_service: Service
    _alert_stub: AlertServiceStub

    def list_alerts(
        self, company: str, source: str = "", *, open_only: bool = False, page_size: int = 0
    ) -> Iterator[Alert]:
        """Goes through the alerts, newest first; of one source, or only those that are open, when asked to."""
        request = ListAlertsRequest(company_id=company, source=source, open_only=open_only, page_size=page_size)
        return self._items(self._sync_service, self._alert_stub.ListAlerts, request, lambda page: page.alerts)

    def create_alert_channel(
        self, company: str, channel: str, *, webhook_url: str = "", email: str = ""
    ) -> CreateAlertChannelResponse:
        """Makes a channel that alerts go to from now on: a webhook, or an e-mail address; one of them must be
        given. Of a webhook it gives the secret that it is signed with, which is shown only here.

        It is sent only once: when it raises Unavailable, whether the channel was made is unknown, and
        `list_alert_channels` tells. If it was, its secret is lost: remove it, and make it again.
        """
        request = alerts.create_channel(company, channel, webhook_url, email)
        # Spends all patience on what may be asked again, before what may not.
        self.list_alert_channels(company)
        return self._call_once(self._sync_service, self._alert_stub.CreateAlertChannel, request)

    def list_alert_channels(self, company: str) -> Sequence[AlertChannel]:
        """Gives all of the company's channels, by name."""
        request = ListAlertChannelsRequest(company_id=company)
        return self._call(self._sync_service, self._alert_stub.ListAlertChannels, request).channels

    def delete_alert_channel(self, company: str, channel: str) -> None:
        """Removes a channel; what it was to be told yet is not told. Raises NotFound when there is none of that
        name."""
        request = DeleteAlertChannelRequest(company_id=company, channel=channel)
        self._call(self._sync_service, self._alert_stub.DeleteAlertChannel, request)

    def test_alert(self, company: str, channel: str) -> TestAlertResponse:
        """Delivers a test to a channel now, and says whether it has taken it. Raises NotFound when there is none of
        that name."""
        request = TestAlertRequest(company_id=company, channel=channel)
        return self._call(self._sync_service, self._alert_stub.TestAlert, request)
