"""Sends e-mail by the operator's mail server."""

import re
from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

import aiosmtplib
import msgspec

from shared.errors import OperatorError
from shared.settings import Settings, is_loopback

_PORTS = {"smtp": 587, "smtps": 465}
_EXAMPLE = "it looks like smtp://user:password@mail.example.com:587, or smtps://mail.example.com:465"
_MAX_ADDRESS = 254
_is_address = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)*[A-Za-z0-9-]{1,63}").fullmatch


def is_address(text: str) -> bool:
    """Whether `text` is an e-mail address: one, in ASCII, without a name."""
    return len(text) <= _MAX_ADDRESS and _is_address(text) is not None


class NotSent(Exception):
    """The mail server has not taken a message. Its text is for a person; it holds no address."""


class MailServer(msgspec.Struct, frozen=True):
    """Where mail is handed over, and as whom."""

    host: str
    port: int
    use_tls: bool
    """From the first byte on."""
    start_tls: bool
    """After a word in the clear. Neither: a server on this machine."""
    user: str | None
    password: str | None


def parse_url(url: str) -> MailServer:
    """The mail server of HOOKLINE_SMTP_URL. Raises OperatorError, without the URL: it may hold a password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
        parts = urlsplit("")
    extra = parts.path not in ("", "/") or parts.query or parts.fragment
    if parts.scheme not in _PORTS or not host or port == 0 or extra:
        raise OperatorError(f"HOOKLINE_SMTP_URL is wrong: {_EXAMPLE}.")
    if (parts.username is None) != (parts.password is None) or parts.username == "":
        raise OperatorError(f"HOOKLINE_SMTP_URL is wrong: a user and a password go together; {_EXAMPLE}.")
    return MailServer(
        host=host,
        port=port or _PORTS[parts.scheme],
        use_tls=parts.scheme == "smtps",
        start_tls=parts.scheme == "smtp" and not is_loopback(host),
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password is not None else None,
    )


class Mailer:
    """Hands messages over, each over a connection of its own: alerts are few."""

    def __init__(self, server: MailServer, sender: str) -> None:
        self._server = server
        self.sender = sender

    async def send(self, message: EmailMessage, timeout: float) -> None:
        """Hands the message over. Raises NotSent."""
        server = self._server
        try:
            await aiosmtplib.send(
                message,
                hostname=server.host,
                port=server.port,
                username=server.user,
                password=server.password,
                use_tls=server.use_tls,
                start_tls=server.start_tls,
                timeout=timeout,
            )
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise NotSent(_explained(error)) from None


def mailer_of(settings: Settings) -> Mailer | None:
    """What the settings say mail is sent by; None: nothing. Raises OperatorError when they are wrong."""
    if not settings.smtp_url:
        return None
    server = parse_url(settings.smtp_url)
    if not settings.smtp_from:
        raise OperatorError("HOOKLINE_SMTP_FROM is not set; with HOOKLINE_SMTP_URL it says who alerts come from.")
    if not is_address(settings.smtp_from):
        raise OperatorError("HOOKLINE_SMTP_FROM is wrong: it is an e-mail address, such as alerts@example.com.")
    return Mailer(server, settings.smtp_from)


def _explained(error: Exception) -> str:
    # What the server says itself is left out: it repeats addresses.
    match error:
        case aiosmtplib.SMTPAuthenticationError():
            return f"The mail server refuses the user or the password ({error.code})."
        case aiosmtplib.SMTPRecipientsRefused():
            codes = ", ".join(str(one.code) for one in error.recipients)
            return f"The mail server refuses the address ({codes})."
        case aiosmtplib.SMTPSenderRefused():
            return f"The mail server refuses the sender, HOOKLINE_SMTP_FROM ({error.code})."
        case aiosmtplib.SMTPResponseException():
            return f"The mail server refuses the message ({error.code})."
        case aiosmtplib.SMTPNotSupported():
            return "The mail server does not offer what is needed: STARTTLS, or a way to give the password."
        case aiosmtplib.SMTPTimeoutError() | TimeoutError():
            return "The mail server did not answer in time."
        case ValueError():
            return "The mail server can't be given the message."
    return "The mail server can't be reached, or its certificate is not valid."
