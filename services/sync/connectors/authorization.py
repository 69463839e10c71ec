"""How a source says who it is. Credentials and tokens go into headers and forms, and into no text for anybody."""

import base64
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import urlencode

import msgspec

from services.sync.connectors import Larger, Refused, TryLater, Unreadable
from services.sync.connectors.http import Answer, Http, retry_after
from services.sync.connectors.tokens import key_of
from shared.platforms.history import Basic, Bearer, ClientCredentials, History, InHeader

UNTOLD_SECONDS = 300.0
"""How long a token is taken for good where the platform does not say."""
_LONGEST_SECONDS = 24 * 60 * 60.0
_LARGEST_ANSWER = 64 * 1024


class Authorization(Protocol):
    """Of one source."""

    async def headers(self) -> Mapping[str, str]:
        """What to send along. Raises Refused, TryLater."""
        ...

    def refused(self) -> bool:
        """Notes that what was sent last was refused. Whether it may help to ask again, with what `headers` gives."""
        ...


def credential_problem(history: History, credential: str) -> str | None:
    """What is wrong with the form of a credential; None when nothing is."""
    name, colon, secret = credential.partition(":")
    whole = bool(name and colon and secret)
    if isinstance(history.auth, Basic) and not whole:
        return 'must be "user:password"'
    if isinstance(history.auth, ClientCredentials) and not whole:
        return 'must be "client_id:client_secret"'
    return None


def authorization(history: History, base_url: str, credential: str, http: Http) -> Authorization:
    """As the platform's file says."""
    match history.auth:
        case Bearer():
            return _Fixed({"Authorization": f"Bearer {credential}"})
        case Basic():
            return _Fixed({"Authorization": _basic(credential)})
        case InHeader(name=name, prefix=prefix):
            return _Fixed({name: prefix + credential})
        case ClientCredentials() as auth:
            return _ByToken(auth, base_url, credential, http)


class _Fixed:
    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    async def headers(self) -> Mapping[str, str]:
        return self._headers

    def refused(self) -> bool:
        return False


class _Token(msgspec.Struct):
    access_token: str
    expires_in: float | str | None = None


class _ByToken:
    def __init__(self, auth: ClientCredentials, base_url: str, credential: str, http: Http) -> None:
        self._auth = auth
        self._url = base_url.rstrip("/") + auth.token_url if auth.token_url.startswith("/") else auth.token_url
        self._credential = credential
        self._http = http
        self._key = key_of(self._url, auth.client, auth.scope, credential)
        self._sent = ""

    async def headers(self) -> Mapping[str, str]:
        self._sent = await self._http.tokens.token(self._key, self._fetch)
        return {"Authorization": f"Bearer {self._sent}"}

    def refused(self) -> bool:
        self._http.tokens.forget(self._key, self._sent)
        return True

    async def _fetch(self) -> tuple[str, float]:
        form, headers = {"grant_type": "client_credentials"}, {"Accept": "application/json"}
        if self._auth.scope:
            form["scope"] = self._auth.scope
        if self._auth.client == "basic":
            headers["Authorization"] = _basic(self._credential)
        else:
            form["client_id"], _, form["client_secret"] = self._credential.partition(":")
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        form_body = urlencode(form).encode()
        try:
            answer = await self._http.ask("POST", self._url, headers=headers, body=form_body, most=_LARGEST_ANSWER)
        except Larger:
            raise Refused("The platform's answer holds no token.") from None
        return _read_token(answer)


def _read_token(answer: Answer) -> tuple[str, float]:
    if answer.status == 429 or answer.status >= 500:
        raise TryLater(f"The platform answers {answer.status} when asked for a token.", retry_after(answer.headers))
    if answer.status in (400, 401, 403):
        raise Refused(f"The platform refuses the credential: it gives no token for it ({answer.status}).")
    if answer.status != 200:
        raise Refused(f"The platform answers {answer.status} when asked for a token.")
    try:
        read = msgspec.json.decode(answer.body, type=_Token)
    except msgspec.ValidationError:
        raise Refused("The platform's answer holds no token.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Unreadable("The platform's answer is not whole JSON, when asked for a token.") from None
    token = read.access_token
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise Refused("The platform's answer holds no token.")
    try:
        seconds = UNTOLD_SECONDS if read.expires_in is None else float(read.expires_in)
    except ValueError:
        seconds = UNTOLD_SECONDS
    # Not a number, too, is not between the two.
    return token, seconds if 0 <= seconds <= _LONGEST_SECONDS else _LONGEST_SECONDS if seconds > 0 else 0.0


def _basic(credential: str) -> str:
    return f"Basic {base64.b64encode(credential.encode()).decode()}"
