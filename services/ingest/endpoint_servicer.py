"""EndpointService: converts requests, calls, converts back."""

import uuid
from datetime import timedelta
from typing import Annotated

import msgspec

from hookline.ingest.v1 import endpoint_service_pb2 as pb
from hookline.ingest.v1 import endpoint_service_pb2_grpc
from services.ingest import control_store as store
from services.ingest import conversion
from services.ingest.registry import Registry, new_token, token_digest
from shared import audit, db, page_tokens, requests
from shared.audit import Action
from shared.errors import EndpointNotFound, InvalidField, OperatorError, SigningSecretNotFound, Violation
from shared.interceptors import Context
from shared.platforms import platforms
from shared.vault import Vault

KEEP_OLD = timedelta(hours=24)
MAX_KEEP_OLD = timedelta(days=30)
MAX_SECRET_BYTES = 1024
HINT_CHARACTERS = 4

_Source = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9_.-]*$")]


class EndpointServicer(endpoint_service_pb2_grpc.EndpointServiceServicer):
    """See protos/hookline/ingest/v1/endpoint_service.proto. `public_url` is what URLs begin with."""

    def __init__(self, pool: db.Pool, vault: Vault, registry: Registry, public_url: str) -> None:
        self._pool = pool
        self._vault = vault
        self._registry = registry
        self._public_url = public_url

    async def CreateEndpoint(self, request: pb.CreateEndpointRequest, context: Context) -> pb.CreateEndpointResponse:
        company_id = requests.company(request.company_id)
        source = requests.source(request.source or request.platform)
        if request.platform and request.platform not in platforms():
            rules = await self._registry.fresh_rules(company_id)
            if request.platform not in rules.platforms:
                raise InvalidField(Violation("platform", "must be one that ListPlatforms has"))
        token = new_token(company_id)
        async with db.acquired(self._pool) as connection, connection.transaction():
            endpoint = await store.create_endpoint(
                connection, company_id, source, request.platform, token_digest(token), token[-HINT_CHARACTERS:]
            )
            await audit.record(
                connection, company_id, Action.ENDPOINT_CREATED, str(endpoint.endpoint_id), source=source
            )
        return pb.CreateEndpointResponse(endpoint=conversion.from_endpoint(endpoint), token=token, url=self._url(token))

    async def ListEndpoints(self, request: pb.ListEndpointsRequest, context: Context) -> pb.ListEndpointsResponse:
        company_id = requests.company(request.company_id)
        page_size = requests.page_size(request.page_size, default=100, most=1000)
        tie = ("ListEndpoints", company_id)
        after = page_tokens.decode(request.page_token, uuid.UUID, *tie)
        async with db.acquired(self._pool) as connection:
            rows = await store.list_endpoints(connection, company_id, after, page_size + 1)
        page = rows[:page_size]
        return pb.ListEndpointsResponse(
            endpoints=[conversion.from_endpoint(endpoint) for endpoint in page],
            next_page_token=page_tokens.encode(page[-1].endpoint_id, *tie) if len(rows) > page_size else "",
        )

    async def RotateEndpoint(self, request: pb.RotateEndpointRequest, context: Context) -> pb.RotateEndpointResponse:
        company_id = requests.company(request.company_id)
        endpoint_id = requests.uuid_of(request.endpoint_id, "endpoint_id")
        keep_old = _keep_old(request)
        token = new_token(company_id)
        async with db.acquired(self._pool) as connection, connection.transaction():
            endpoint = await store.rotate_endpoint(
                connection, company_id, endpoint_id, token_digest(token), token[-HINT_CHARACTERS:], keep_old
            )
            if endpoint is None:
                raise EndpointNotFound(str(endpoint_id))
            await audit.record(
                connection, company_id, Action.ENDPOINT_ROTATED, str(endpoint_id), source=endpoint.source
            )
        self._registry.forget(company_id)
        return pb.RotateEndpointResponse(endpoint=conversion.from_endpoint(endpoint), token=token, url=self._url(token))

    async def RevokeEndpoint(self, request: pb.RevokeEndpointRequest, context: Context) -> pb.RevokeEndpointResponse:
        company_id = requests.company(request.company_id)
        endpoint_id = requests.uuid_of(request.endpoint_id, "endpoint_id")
        async with db.acquired(self._pool) as connection, connection.transaction():
            endpoint = await store.revoke_endpoint(connection, company_id, endpoint_id)
            if endpoint is None:
                raise EndpointNotFound(str(endpoint_id))
            await audit.record(
                connection, company_id, Action.ENDPOINT_REVOKED, str(endpoint_id), source=endpoint.source
            )
        self._registry.forget(company_id)
        return pb.RevokeEndpointResponse(endpoint=conversion.from_endpoint(endpoint))

    async def PutSigningSecret(
        self, request: pb.PutSigningSecretRequest, context: Context
    ) -> pb.PutSigningSecretResponse:
        company_id, source = requests.company(request.company_id), requests.source(request.source)
        if not 0 < len(request.secret.encode()) <= MAX_SECRET_BYTES:
            raise InvalidField(Violation("secret", f"is required, of at most {MAX_SECRET_BYTES} bytes"))
        keep_old = _keep_old(request)
        async with db.acquired(self._pool) as connection, connection.transaction():
            secret = await store.put_signing_secret(
                connection,
                company_id,
                source,
                self._vault.encrypt(request.secret),
                keep_old,
                lambda encrypted: self._holds(encrypted, request.secret),
            )
            await audit.record(connection, company_id, Action.SIGNING_SECRET_PUT, source)
        self._registry.forget(company_id)
        return pb.PutSigningSecretResponse(signing_secret=conversion.from_signing_secret(secret))

    async def ListSigningSecrets(
        self, request: pb.ListSigningSecretsRequest, context: Context
    ) -> pb.ListSigningSecretsResponse:
        company_id = requests.company(request.company_id)
        page_size = requests.page_size(request.page_size, default=100, most=1000)
        tie = ("ListSigningSecrets", company_id)
        after = page_tokens.decode(request.page_token, _Source, *tie)
        async with db.acquired(self._pool) as connection:
            rows = await store.list_signing_secrets(connection, company_id, after, page_size + 1)
        page = rows[:page_size]
        return pb.ListSigningSecretsResponse(
            signing_secrets=[conversion.from_signing_secret(secret) for secret in page],
            next_page_token=page_tokens.encode(page[-1].source, *tie) if len(rows) > page_size else "",
        )

    async def DeleteSigningSecret(
        self, request: pb.DeleteSigningSecretRequest, context: Context
    ) -> pb.DeleteSigningSecretResponse:
        company_id, source = requests.company(request.company_id), requests.source(request.source)
        async with db.acquired(self._pool) as connection, connection.transaction():
            if not await store.delete_signing_secret(connection, company_id, source):
                raise SigningSecretNotFound(source)
            await audit.record(connection, company_id, Action.SIGNING_SECRET_DELETED, source)
        self._registry.forget(company_id)
        return pb.DeleteSigningSecretResponse()

    def _url(self, token: str) -> str:
        return f"{self._public_url}/v1/hooks/{token}"

    def _holds(self, encrypted: bytes, secret: str) -> bool:
        try:
            return self._vault.decrypt(encrypted) == secret
        except OperatorError:
            # Of another key: whatever it holds, it is no use any more.
            return False


def _keep_old(request: pb.RotateEndpointRequest | pb.PutSigningSecretRequest) -> timedelta:
    """How long the one before is good. Raises InvalidField."""
    if not request.HasField("keep_old"):
        return KEEP_OLD
    try:
        keep_old = request.keep_old.ToTimedelta()
    except (ValueError, OverflowError):
        keep_old = timedelta(-1)
    if not timedelta(0) <= keep_old <= MAX_KEEP_OLD:
        raise InvalidField(Violation("keep_old", "must be from zero to 30 days"))
    return keep_old
