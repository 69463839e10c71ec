"""The part of the client for ordinary code that manages what platforms get in by: URLs and signing secrets."""

from collections.abc import Iterator
from datetime import timedelta

from hookline.client import requests
from hookline.client.blocking_calls import Calls
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
from hookline.ingest.v1.endpoint_service_pb2_grpc import EndpointServiceStub


class EndpointCalls(Calls):
    """What `Client` does with endpoints and signing secrets."""

    _ingest_service: Service
    _endpoint_stub: EndpointServiceStub

    def create_endpoint(self, company: str, source: str = "", platform: str = "") -> CreateEndpointResponse:
        """Makes an endpoint, and gives it with its token and its URL, which are shown only here. One of source and
        platform must be given; without a source it is the platform's name, without a platform each payload is
        recognised by its shape.

        Each call makes another one. Hence it is sent only once: when it raises Unavailable, whether an endpoint was
        made is unknown, and `list_endpoints` tells.
        """
        request = CreateEndpointRequest(company_id=company, source=source, platform=platform)
        self._until_it_answers(company)
        return self._call_once(self._ingest_service, self._endpoint_stub.CreateEndpoint, request)

    def list_endpoints(self, company: str, *, page_size: int = 0) -> Iterator[Endpoint]:
        """Goes through the endpoints, revoked ones too, in the order of making."""
        request = ListEndpointsRequest(company_id=company, page_size=page_size)
        return self._items(
            self._ingest_service, self._endpoint_stub.ListEndpoints, request, lambda page: page.endpoints
        )

    def rotate_endpoint(
        self, company: str, endpoint_id: str, *, keep_old: timedelta | None = None
    ) -> RotateEndpointResponse:
        """Gives an endpoint a new token, and gives it with its URL; they are shown only here. The old one works on for
        `keep_old`, at most 30 days; None is 24 hours, and zero ends it at once. Any older one ends at once.

        Raises NotFound when there is no such endpoint, or it was revoked. It is sent only once: when it raises
        Unavailable, whether there is a new token is unknown, and `list_endpoints` tells. If there is one, doing it
        again ends the token that the platform uses: another endpoint does not.
        """
        request = RotateEndpointRequest(
            company_id=company, endpoint_id=endpoint_id, keep_old=requests.duration(keep_old)
        )
        self._until_it_answers(company)
        return self._call_once(self._ingest_service, self._endpoint_stub.RotateEndpoint, request)

    def revoke_endpoint(self, company: str, endpoint_id: str) -> Endpoint:
        """Ends an endpoint for good. Raises NotFound when there is no such endpoint."""
        request = RevokeEndpointRequest(company_id=company, endpoint_id=endpoint_id)
        return self._call(self._ingest_service, self._endpoint_stub.RevokeEndpoint, request).endpoint

    def put_signing_secret(
        self, company: str, source: str, secret: str, *, keep_old: timedelta | None = None
    ) -> SigningSecret:
        """Stores the secret that a source's webhooks are signed with: from now on they must be. The one before is good
        for `keep_old` more, at most 30 days; None is 24 hours, and zero ends it at once. The same secret again changes
        nothing but that it can end the one before sooner."""
        request = PutSigningSecretRequest(
            company_id=company, source=source, secret=secret, keep_old=requests.duration(keep_old)
        )
        return self._call(self._ingest_service, self._endpoint_stub.PutSigningSecret, request).signing_secret

    def list_signing_secrets(self, company: str, *, page_size: int = 0) -> Iterator[SigningSecret]:
        """Goes through the sources that have a secret, by name. Never gives the secrets."""
        request = ListSigningSecretsRequest(company_id=company, page_size=page_size)
        return self._items(
            self._ingest_service, self._endpoint_stub.ListSigningSecrets, request, lambda page: page.signing_secrets
        )

    def delete_signing_secret(self, company: str, source: str) -> None:
        """Removes a source's secrets: its webhooks need no signature any more.

        Raises NotFound when there is none; also when this very call removed it, but the answer did not get through.
        """
        request = DeleteSigningSecretRequest(company_id=company, source=source)
        self._call(self._ingest_service, self._endpoint_stub.DeleteSigningSecret, request)

    def _until_it_answers(self, company: str) -> None:
        """Spends all patience on what may be asked again, before what may not."""
        request = ListEndpointsRequest(company_id=company, page_size=1)
        self._call(self._ingest_service, self._endpoint_stub.ListEndpoints, request)
