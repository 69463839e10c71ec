"""`hookline alerts`, against scripted services."""

import json
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from hookline.client import Alert, AlertChannel, AlertDelivery, AlertKind, AlertNews
from hookline.sync.v1 import alert_service_pb2 as pb
from tests.unit.scripted import Refusal, Script, Shell, serving

CODE = grpc.StatusCode
TIME, TIME_TEXT = Timestamp(seconds=1767225600), "2026-01-01T00:00:00Z"
URL = "https://example.com/hooks"
HOOK = AlertChannel(channel="ops", webhook_url=URL, create_time=TIME)
MAIL = AlertChannel(channel="me", email="me@example.com", create_time=TIME)
OPEN = Alert(
    alert_id="a-1",
    kind=AlertKind.ALERT_KIND_RUN_FAILED,
    source="shop",
    run_id="r-1",
    message="Grapfy refuses the credential (401).",
    open_time=TIME,
    last_time=TIME,
    times=3,
    deliveries=[
        AlertDelivery(channel="ops", news=AlertNews.ALERT_NEWS_OPENED, attempts=1, deliver_time=TIME),
        AlertDelivery(channel="me", news=AlertNews.ALERT_NEWS_OPENED, attempts=2, next_attempt_time=TIME, error="503"),
    ],
)
OVER = Alert(
    alert_id="a-0",
    kind=AlertKind.ALERT_KIND_SCHEDULE_OVERDUE,
    source="shop",
    message="no scheduler",
    open_time=TIME,
    last_time=TIME,
    times=1,
    resolve_time=TIME,
    deliveries=[AlertDelivery(channel="ops", news=AlertNews.ALERT_NEWS_RESOLVED, attempts=10, error="410")],
)
HOOK_FIELDS = {"channel": "ops", "webhook_url": URL, "email": None, "create_time": TIME_TEXT}


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def shell(script: Script) -> Iterator[Shell]:
    with serving(script) as server:
        yield Shell(script, server)


def test_alerts_are_listed(shell: Shell) -> None:
    shell.script.answers = [pb.ListAlertsResponse(alerts=[OPEN, OVER])] * 2
    first, second = lines(shell("alerts", "list", "--json", "--open", "--source", "shop").stdout)
    assert first == {
        "alert_id": "a-1",
        "kind": "run_failed",
        "source": "shop",
        "run_id": "r-1",
        "message": "Grapfy refuses the credential (401).",
        "open_time": TIME_TEXT,
        "last_time": TIME_TEXT,
        "times": 3,
        "resolve_time": None,
        "deliveries": [
            {
                "channel": "ops",
                "news": "opened",
                "attempts": 1,
                "deliver_time": TIME_TEXT,
                "next_attempt_time": None,
                "error": None,
            },
            {
                "channel": "me",
                "news": "opened",
                "attempts": 2,
                "deliver_time": None,
                "next_attempt_time": TIME_TEXT,
                "error": "503",
            },
        ],
    }
    assert (second["run_id"], second["resolve_time"]) == (None, TIME_TEXT)
    assert shell("alerts", "list").stdout == (
        "SINCE\tKIND\tSOURCE\tTIMES\tSTATE\tTOLD\tMESSAGE\tRUN ID\n"
        f"{TIME_TEXT}\trun_failed\tshop\t3\topen\tops:opened me:opened (waiting)\t"
        "Grapfy refuses the credential (401).\tr-1\n"
        f"{TIME_TEXT}\tschedule_overdue\tshop\t1\tover {TIME_TEXT}\tops:resolved (given up)\tno scheduler\t\n"
    )
    assert shell.script.requests == [
        pb.ListAlertsRequest(company_id="acme", source="shop", open_only=True),
        pb.ListAlertsRequest(company_id="acme"),
    ]


def test_a_webhook_is_added_and_its_secret_shown(shell: Shell) -> None:
    listed, made = pb.ListAlertChannelsResponse(), pb.CreateAlertChannelResponse(channel=HOOK, secret="whsec_x")
    shell.script.answers = [listed, made] * 3
    add = ("alerts", "channel", "add", "ops", "--webhook", URL)
    result = shell(*add)
    # Alone on stdout, so that a shell can take it.
    assert (result.exit_code, result.stdout) == (0, "whsec_x\n")
    assert result.stderr.startswith("This secret is shown only now.")
    assert shell(*add, "--quiet").output == "whsec_x\n"
    assert lines(shell(*add, "--json").output) == [HOOK_FIELDS | {"secret": "whsec_x"}]
    request = pb.CreateAlertChannelRequest(company_id="acme", channel="ops", webhook_url=URL)
    assert shell.script.requests[1::2] == [request] * 3


def test_an_address_is_added(shell: Shell) -> None:
    listed, made = pb.ListAlertChannelsResponse(), pb.CreateAlertChannelResponse(channel=MAIL)
    shell.script.answers = [listed, made] * 2
    add = ("alerts", "channel", "add", "me", "--email", "me@example.com")
    assert shell(*add).output == "me is told of alerts by e-mail from now on.\n"
    [fields] = lines(shell(*add, "--json").output)
    assert (fields["email"], fields["webhook_url"], fields["secret"]) == ("me@example.com", None, None)


@pytest.mark.parametrize("targets", [(), ("--webhook", URL, "--email", "me@example.com")], ids=["none", "both"])
def test_a_channel_goes_to_one_place(shell: Shell, targets: tuple[str, ...]) -> None:
    result = shell("alerts", "channel", "add", "ops", *targets)
    assert (result.exit_code, shell.script.requests) == (2, [])
    assert "Give --webhook or --email." in result.stderr


def test_an_answer_that_does_not_get_through(shell: Shell) -> None:
    shell.script.answers = [pb.ListAlertChannelsResponse(), Refusal()]
    result = shell("alerts", "channel", "add", "ops", "--webhook", URL)
    assert (result.exit_code, result.stdout) == (7, "")
    assert result.stderr.startswith("Whether the channel was made is unknown;")


def test_channels_are_listed_and_removed(shell: Shell) -> None:
    shell.script.answers = [pb.ListAlertChannelsResponse(channels=[MAIL, HOOK])] * 2
    assert lines(shell("alerts", "channel", "list", "--json").output)[1] == HOOK_FIELDS
    assert shell("alerts", "channel", "list").output == (
        f"CHANNEL\tKIND\tTARGET\tSINCE\nme\temail\tme@example.com\t{TIME_TEXT}\nops\twebhook\t{URL}\t{TIME_TEXT}\n"
    )
    shell.script.answers = [pb.DeleteAlertChannelResponse()] * 2
    assert shell("alerts", "channel", "remove", "ops").output == "ops gets no more alerts.\n"
    assert lines(shell("alerts", "channel", "remove", "ops", "--json").output) == [{"channel": "ops", "removed": True}]
    shell.script.answers = [
        Refusal(CODE.NOT_FOUND, "the company has no alert channel named ops", "ALERT_CHANNEL_NOT_FOUND")
    ]
    result = shell("alerts", "channel", "remove", "ops")
    assert (result.exit_code, result.output) == (4, "Error: the company has no alert channel named ops\n")


def test_a_test_that_is_not_delivered_is_an_exit_status(shell: Shell) -> None:
    problem = "The receiver answers with 500."
    done, failed = pb.TestAlertResponse(delivered=True), pb.TestAlertResponse(problem=problem)
    shell.script.answers = [done, done, failed, failed]
    result = shell("alerts", "test", "ops")
    assert (result.exit_code, result.output) == (0, "ops accepted the test.\n")
    result = shell("alerts", "test", "ops", "--json")
    assert (result.exit_code, lines(result.output)) == (0, [{"channel": "ops", "delivered": True, "problem": None}])
    result = shell("alerts", "test", "ops")
    assert (result.exit_code, result.stdout) == (14, "")
    assert result.stderr == f"ops did not accept the test: {problem}\n"
    result = shell("alerts", "test", "ops", "--json")
    assert (result.exit_code, lines(result.stdout)) == (
        14,
        [{"channel": "ops", "delivered": False, "problem": problem}],
    )
