"""The part of the client for asyncio that manages what platforms get in by. Each method is documented in
`blocking_endpoints`."""

from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import TYPE_CHECKING

from hookline.client import requests
from hookline.client.aio_calls import Calls
from hookline.client.retry import Service
from hookline.ingest.v1.endpoint_service_pb2 import (
    CreateEndpointRequest,
    CreateEndpointResponse,
    DeleteSigningSecretRequest,
    Endpoint,
    ListEndpointsRequest,
    ListSigningSecretsRequest,
    PutSigningSecretRequest,
    RevokeEndpointRequest,
    RotateEndpointRequest,
    RotateEndpointResponse,
    SigningSecret,
)

if TYPE_CHECKING:
    # The name is in the type stubs only.
    from hookline.ingest.v1.endpoint_service_pb2_grpc import EndpointServiceAsyncStub


class EndpointCalls(Calls):
    """What `AsyncClient` does with endpoints and signing secrets."""

    _ingest_service: Service
    _endpoint_stub: "EndpointServiceAsyncStub"

    async def create_endpoint(self, company: str, source: str = "", platform: str = "") -> CreateEndpointResponse:
        """Makes an endpoint: see `Client.create_endpoint`."""
        request = CreateEndpointRequest(company_id=company, source=source, platform=platform)
        await self._until_it_answers(company)
        return await self._call_once(self._ingest_service, self._endpoint_stub.CreateEndpoint, request)

    def list_endpoints(self, company: str, *, page_size: int = 0) -> AsyncGenerator[Endpoint, None]:
        """Goes through the endpoints: see `Client.list_endpoints`."""
        request = ListEndpointsRequest(company_id=company, page_size=page_size)
        return self._items(
            self._ingest_service, self._endpoint_stub.ListEndpoints, request, lambda page: page.endpoints
        )

    async def rotate_endpoint(
        self, company: str, endpoint_id: str, *, keep_old: timedelta | None = None
    ) -> RotateEndpointResponse:
        """Gives an endpoint a new token: see `Client.rotate_endpoint`."""
        request = RotateEndpointRequest(
            company_id=company, endpoint_id=endpoint_id, keep_old=requests.duration(keep_old)
        )
        await self._until_it_answers(company)
        return await self._call_once(self._ingest_service, self._endpoint_stub.RotateEndpoint, request)

    async def revoke_endpoint(self, company: str, endpoint_id: str) -> Endpoint:
        """Ends an endpoint for good: see `Client.revoke_endpoint`."""
        request = RevokeEndpointRequest(company_id=company, endpoint_id=endpoint_id)
        return (await self._call(self._ingest_service, self._endpoint_stub.RevokeEndpoint, request)).endpoint

    async def put_signing_secret(
        self, company: str, source: str, secret: str, *, keep_old: timedelta | None = None
    ) -> SigningSecret:
        """Stores the secret that a source's webhooks are signed with: see `Client.put_signing_secret`."""
        request = PutSigningSecretRequest(
            company_id=company, source=source, secret=secret, keep_old=requests.duration(keep_old)
        )
        return (await self._call(self._ingest_service, self._endpoint_stub.PutSigningSecret, request)).signing_secret

    def list_signing_secrets(self, company: str, *, page_size: int = 0) -> AsyncGenerator[SigningSecret, None]:
        """Goes through the sources that have a secret: see `Client.list_signing_secrets`."""
        request = ListSigningSecretsRequest(company_id=company, page_size=page_size)
        return self._items(
            self._ingest_service, self._endpoint_stub.ListSigningSecrets, request, lambda page: page.signing_secrets
        )

    async def delete_signing_secret(self, company: str, source: str) -> None:
        """Removes a source's secrets: see `Client.delete_signing_secret`."""
        request = DeleteSigningSecretRequest(company_id=company, source=source)
        await self._call(self._ingest_service, self._endpoint_stub.DeleteSigningSecret, request)

    async def _until_it_answers(self, company: str) -> None:
        """Spends all patience on what may be asked again, before what may not."""
        request = ListEndpointsRequest(company_id=company, page_size=1)
        await self._call(self._ingest_service, self._endpoint_stub.ListEndpoints, request)
