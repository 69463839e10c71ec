"""Those who are told of alerts: a receiver of webhooks and a mail server, both real, in this process."""

import asyncio
import base64
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any
from urllib.parse import quote

from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session
from standardwebhooks import Webhook

from services.suite.ports import free_address


@dataclass(frozen=True)
class Received:
    """A request as it came."""

    headers: dict[str, str]
    body: bytes

    def verified(self, secret: str) -> Any:
        """What it says. Raises WebhookVerificationError when it is not signed by the secret."""
        return Webhook(secret).verify(self.body, self.headers)


@dataclass
class Receiver:
    """Answers 204, or first what `answers` says: statuses, or a status with headers. One that `hangs` answers when that
    is set."""

    url: str = ""
    received: list[Received] = field(default_factory=list)
    answers: list[int | tuple[int, dict[str, str]]] = field(default_factory=list)
    hangs: asyncio.Event | None = None

    @property
    def ids(self) -> Sequence[uuid.UUID]:
        return [uuid.UUID(each.headers["webhook-id"]) for each in self.received]

    async def handle(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.append(Received(headers, await request.read()))
        if self.hangs:
            await self.hangs.wait()
        answer = self.answers.pop(0) if self.answers else 204
        status, more = answer if isinstance(answer, tuple) else (answer, {})
        return web.Response(status=status, headers=more, text="x" * 100_000 if status == 500 else None)


@asynccontextmanager
async def webhook_receiver() -> AsyncIterator[Receiver]:
    """A receiver until the block ends."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hooks", receiver.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    address = free_address()
    host, port = address.split(":")
    await web.TCPSite(runner, host, int(port)).start()
    receiver.url = f"http://{address}/hooks?token=hush"
    try:
        yield receiver
    finally:
        await runner.cleanup()


@dataclass
class Inbox:
    """Mail that has come from one user. `refuses`: what is answered instead of taking it, such as "550 no"."""

    user: str
    password: str
    url: str = ""
    mails: list[EmailMessage] = field(default_factory=list)
    refuses: str | None = None

    async def handle_AUTH(self, server: SMTP, session: Session, envelope: Envelope, words: Sequence[str]) -> str:
        assert words[0] == "PLAIN"
        session.authenticated = base64.b64decode(words[1]).decode() == f"\0{self.user}\0{self.password}"
        return "235 welcome" if session.authenticated else "535 who are you?"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if not session.authenticated:
            return "530 who are you?"
        if self.refuses:
            return self.refuses
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        assert [mail["To"]] == envelope.rcpt_tos
        self.mails.append(mail)
        return "250 taken"


@asynccontextmanager
async def mail_server() -> AsyncIterator[Inbox]:
    """A mail server until the block ends."""
    inbox = Inbox("hookline", "p@ss/word")
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(inbox, hostname="test", auth_require_tls=False, auth_exclude_mechanism=["LOGIN"], loop=loop),
        "127.0.0.1",
        0,
    )
    port = server.sockets[0].getsockname()[1]
    inbox.url = f"smtp://{inbox.user}:{quote(inbox.password, safe='')}@127.0.0.1:{port}"
    try:
        yield inbox
    finally:
        server.close()
        await server.wait_closed()
