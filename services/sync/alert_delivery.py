"""Delivers one message to one channel, once."""

import asyncio
from datetime import UTC, datetime

from services.sync import alert_messages
from services.sync.alert_messages import Message
from services.sync.connectors import Refused, TryLater
from services.sync.connectors.http import Http, Limits, retry_after
from services.sync.mail import Mailer, NotSent
from shared.errors import OperatorError
from shared.vault import Vault

ATTEMPT_SECONDS = 20.0
"""How long one try may take."""
LIMITS = Limits(connect=5, read=15, total=ATTEMPT_SECONDS, body=64 * 1024)
"""For receivers of webhooks: they have nothing to say."""
_GONE = 410
_WHO = "The receiver"


class Undelivered(Exception):
    """A channel has not taken a message. Its text is for a person, without credentials and personal data."""

    def __init__(self, problem: str, *, for_good: bool = False, retry_after: float | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.for_good = for_good
        """Whether the channel has said that it never will."""
        self.retry_after = retry_after
        """Seconds that it asks to wait."""


class Deliverer:
    """Delivers by HTTP and by e-mail. Without a mailer, e-mail addresses can't be told anything."""

    def __init__(self, http: Http, mailer: Mailer | None, vault: Vault) -> None:
        self._http = http
        self._mailer = mailer
        self._vault = vault

    @property
    def has_mail(self) -> bool:
        return self._mailer is not None

    async def deliver(self, message: Message) -> None:
        """Returns when the channel has taken the message. Raises Undelivered."""
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                if message.channel.webhook_url is not None:
                    await self._post(message, message.channel.webhook_url)
                else:
                    await self._mail(message)
        except TimeoutError:
            raise Undelivered(f"There was no answer within {ATTEMPT_SECONDS:g} seconds.") from None

    async def _post(self, message: Message, url: str) -> None:
        now = datetime.now(UTC)
        body = alert_messages.webhook_body(message, now)
        try:
            secret = self._vault.decrypt(message.channel.secret or b"")
        except OperatorError as error:
            raise Undelivered(str(error)) from None
        headers = alert_messages.webhook_headers(message.delivery_id, body, secret, now)
        try:
            answer = await self._http.post(url, body, headers, who=_WHO)
        except Refused as error:
            raise Undelivered(str(error)) from None
        except TryLater as error:
            raise Undelivered(str(error), retry_after=error.retry_after) from None
        if not 200 <= answer.status < 300:
            raise Undelivered(
                f"{_WHO} answers with {answer.status}.",
                for_good=answer.status == _GONE,
                retry_after=retry_after(answer.headers),
            )

    async def _mail(self, message: Message) -> None:
        if self._mailer is None:
            raise Undelivered("This server has no mail server to send by: HOOKLINE_SMTP_URL is not set.")
        mail = alert_messages.mail(message, self._mailer.sender, datetime.now(UTC))
        try:
            await self._mailer.send(mail, ATTEMPT_SECONDS)
        except NotSent as error:
            raise Undelivered(str(error)) from None
