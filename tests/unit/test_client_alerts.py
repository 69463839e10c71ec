"""Alerts and their channels by both clients."""

from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from hookline.client import Alert, AlertChannel, CreateAlertChannelResponse, HooklineError, Unavailable
from hookline.sync.v1 import alert_service_pb2 as pb
from tests.unit.scripted import Caller, Refusal, Script, serving

CODE = grpc.StatusCode
ALERT = Alert(alert_id="a-1", source="shop")
CHANNEL = AlertChannel(channel="ops", webhook_url="https://example.com/hooks")
CREATED = CreateAlertChannelResponse(channel=CHANNEL, secret="whsec_x")
TESTED = pb.TestAlertResponse(delivered=True)

both_clients = pytest.mark.parametrize("is_async", [False, True], ids=["blocking", "async"])

CALLS: dict[str, tuple[str, tuple[Any, ...], dict[str, Any], Message, Message, Any]] = {
    "alerts": (
        "list_alerts",
        ("acme",),
        {},
        pb.ListAlertsRequest(company_id="acme"),
        pb.ListAlertsResponse(alerts=[ALERT, ALERT]),
        [ALERT, ALERT],
    ),
    "open alerts of a source": (
        "list_alerts",
        ("acme", "shop"),
        {"open_only": True, "page_size": 7},
        pb.ListAlertsRequest(company_id="acme", source="shop", open_only=True, page_size=7),
        pb.ListAlertsResponse(alerts=[ALERT]),
        [ALERT],
    ),
    "channels": (
        "list_alert_channels",
        ("acme",),
        {},
        pb.ListAlertChannelsRequest(company_id="acme"),
        pb.ListAlertChannelsResponse(channels=[CHANNEL]),
        [CHANNEL],
    ),
    "no channel": (
        "delete_alert_channel",
        ("acme", "ops"),
        {},
        pb.DeleteAlertChannelRequest(company_id="acme", channel="ops"),
        pb.DeleteAlertChannelResponse(),
        None,
    ),
    "test": ("test_alert", ("acme", "ops"), {}, pb.TestAlertRequest(company_id="acme", channel="ops"), TESTED, TESTED),
}


@both_clients
@pytest.mark.parametrize("name", CALLS)
def test_calls(is_async: bool, name: str) -> None:
    method, arguments, options, request, answer, expected = CALLS[name]
    script = Script()
    # Each is tried again as well.
    script.answers = [Refusal(), answer]
    with serving(script) as server:
        assert Caller(is_async=is_async, address=server.address)(method, *arguments, **options) == expected
    assert script.requests == [request, request]


@both_clients
def test_alerts_of_all_pages(is_async: bool) -> None:
    script = Script()
    script.answers = [
        pb.ListAlertsResponse(alerts=[ALERT], next_page_token="a"),
        Refusal(),
        pb.ListAlertsResponse(alerts=[ALERT]),
    ]
    with serving(script) as server:
        assert Caller(is_async=is_async, address=server.address)("list_alerts", "acme") == [ALERT, ALERT]
    assert [request.page_token for request in script.requests] == ["", "a", "a"]  # type: ignore[attr-defined]


@both_clients
def test_a_channel_is_made_once(is_async: bool) -> None:
    script = Script()
    with serving(script) as server:
        call = Caller(is_async=is_async, address=server.address)
        listed = pb.ListAlertChannelsResponse()
        # What may be asked again is asked first, until it is answered.
        script.answers = [Refusal(), listed, CREATED, listed, CREATED, listed, Refusal()]
        assert call("create_alert_channel", "acme", "ops", webhook_url="https://example.com/hooks") == CREATED
        assert call("create_alert_channel", "acme", "ops", email="me@example.com") == CREATED
        with pytest.raises(Unavailable):
            call("create_alert_channel", "acme", "ops", email="me@example.com")
    webhook, mail, lost = [request for request in script.requests if isinstance(request, pb.CreateAlertChannelRequest)]
    assert webhook == pb.CreateAlertChannelRequest(
        company_id="acme", channel="ops", webhook_url="https://example.com/hooks"
    )
    assert mail == lost == pb.CreateAlertChannelRequest(company_id="acme", channel="ops", email="me@example.com")


@both_clients
def test_a_channel_that_goes_nowhere_is_refused(is_async: bool) -> None:
    script = Script()
    message = "target: is required: webhook_url or email"
    script.answers = [
        pb.ListAlertChannelsResponse(),
        Refusal(CODE.INVALID_ARGUMENT, message, "INVALID_FIELD", violations=[("target", "is required")]),
    ]
    with serving(script) as server, pytest.raises(HooklineError, match="target"):
        Caller(is_async=is_async, address=server.address)("create_alert_channel", "acme", "ops")
    assert script.requests[1] == pb.CreateAlertChannelRequest(company_id="acme", channel="ops")
