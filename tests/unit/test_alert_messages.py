"""What channels are told, how long is waited between tries, and what mail is sent by."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook

from services.sync import alert_messages, mail
from services.sync.alert_messages import Message
from services.sync.alert_store import Alert, Channel, Kind, News
from services.sync.alerting import ATTEMPTS, wait_after
from services.sync.mail import MailServer, mailer_of, parse_url
from shared.errors import OperatorError
from shared.settings import Settings

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
DELIVERY = uuid.UUID("0198c1c4-7d9e-7cc0-8000-5c1f0e6d7a10")
CHANNEL = Channel("acme", "ops", "https://example.com/hooks", None, b"", NOW)
INBOX = Channel("acme", "me", None, "me@example.com", None, NOW)
ALERT = Alert("acme", DELIVERY, Kind.RUN_FAILED, "shop", None, "line\r\nBcc: all@example.com", NOW, NOW, 1, None)
SENDER = "alerts@example.com"


def test_a_mails_headers_hold_nothing_but_what_they_are_for() -> None:
    sent = alert_messages.mail(Message(DELIVERY, INBOX, ALERT, News.OPENED), SENDER, NOW)
    assert set(sent.keys()) == {
        "From",
        "To",
        "Date",
        "Message-ID",
        "Auto-Submitted",
        "Subject",
        "Content-Type",
        "Content-Transfer-Encoding",
        "MIME-Version",
    }
    assert (sent["To"], sent["Subject"]) == ("me@example.com", "[Hookline] shop: a run failed")
    assert sent["Message-ID"] == f"<{DELIVERY}@example.com>"
    assert "\nline  Bcc: all@example.com\n" in sent.get_content()


@pytest.mark.parametrize("address", ["me@example.com\r\nBcc: all@example.com", "me@example.com\nX: y"])
def test_an_address_can_bring_no_header_in(address: str) -> None:
    assert not mail.is_address(address)
    injected = Channel("acme", "me", None, address, None, NOW)
    with pytest.raises(ValueError, match="linefeed or carriage return"):
        alert_messages.mail(Message(DELIVERY, injected), SENDER, NOW)


def test_addresses() -> None:
    for good in ("me@example.com", "a.b+c@sub.example.co", "root@localhost"):
        assert mail.is_address(good)
    for bad in (
        "",
        "me",
        "@example.com",
        "me@",
        "Me <me@example.com>",
        "a@b@c",
        "a b@c.d",
        "a@b,c@d",
        "ü@b.c",
        "a@b..c",
    ):
        assert not mail.is_address(bad)


def test_a_message_of_a_stranger_is_signed_as_it_is() -> None:
    strange = Alert("acme", DELIVERY, Kind.GAP_FOUND, "shop", DELIVERY, 'Zoë "\\\x00\u2028', NOW, NOW, 2, NOW)
    body = alert_messages.webhook_body(Message(DELIVERY, CHANNEL, strange, News.RESOLVED), NOW)
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    now = datetime.now(UTC)
    headers = alert_messages.webhook_headers(DELIVERY, body, secret, now)
    told = Webhook(secret).verify(body, headers)
    assert (told["type"], told["data"]["message"]) == ("hookline.alert.resolved", strange.message)
    assert headers["webhook-id"] == str(DELIVERY)


def test_ten_tries_are_about_a_day() -> None:
    waits = [wait_after(attempts, 10, None) for attempts in range(1, ATTEMPTS)]
    assert timedelta(seconds=7.5) <= waits[0] <= timedelta(seconds=10)
    assert timedelta(hours=20) < sum(waits, timedelta()) < timedelta(hours=28)
    # What the channel asks for is the least, and never more than a day.
    assert wait_after(1, 10, 120) == timedelta(seconds=120)
    assert wait_after(1, 10, 1e9) == timedelta(days=1)


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail.example.com", MailServer("mail.example.com", 587, False, True, None, None)),
        ("smtp://u%40x:p%2Fw@mail.example.com:25/", MailServer("mail.example.com", 25, False, True, "u@x", "p/w")),
        ("smtps://u:p@mail.example.com", MailServer("mail.example.com", 465, True, False, "u", "p")),
        ("smtp://localhost:1025", MailServer("localhost", 1025, False, False, None, None)),
        ("smtp://u:p@[::1]:1025", MailServer("::1", 1025, False, False, "u", "p")),
    ],
)
def test_mail_servers(url: str, server: MailServer) -> None:
    assert parse_url(url) == server


@pytest.mark.parametrize(
    "url",
    [
        "mail.example.com:587",
        "http://mail.example.com",
        "smtp://",
        "smtp://hush:hush@mail.example.com:99999",
        "smtp://mail.example.com:0",
        "smtp://hush@mail.example.com",
        "smtp://:hush@mail.example.com",
        "smtp://hush:hush@[::1",
        "smtp://hush:hush@mail.example.com/path",
        "smtps://mail.example.com?x=hush",
    ],
)
def test_a_wrong_mail_server_is_one_sentence_without_the_password(url: str) -> None:
    with pytest.raises(OperatorError) as raised:
        mailer_of(Settings(smtp_url=url, smtp_from=SENDER))
    assert str(raised.value).startswith("HOOKLINE_SMTP_URL is wrong: ")
    assert str(raised.value).endswith(".")
    assert "hush" not in str(raised.value)


def test_mail_needs_a_sender() -> None:
    assert mailer_of(Settings(smtp_from=SENDER)) is None
    assert mailer_of(Settings(smtp_url="smtp://mail.example.com", smtp_from=SENDER))
    with pytest.raises(OperatorError, match="HOOKLINE_SMTP_FROM is not set"):
        mailer_of(Settings(smtp_url="smtp://mail.example.com"))
    with pytest.raises(OperatorError, match="HOOKLINE_SMTP_FROM is wrong"):
        mailer_of(Settings(smtp_url="smtp://mail.example.com", smtp_from="Me <me@example.com>"))
