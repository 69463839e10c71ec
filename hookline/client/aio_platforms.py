"""The part of the client for asyncio that says how payloads are understood. Each method is documented in
`blocking_platforms`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hookline.client import requests
from hookline.client.aio_calls import Calls
from hookline.client.retry import Service
from hookline.ingest.v1.ingest_service_pb2 import (
    DeletePlatformMappingRequest,
    ListPlatformsRequest,
    Platform,
    PreviewMappingRequest,
    PreviewMappingResponse,
    PutPlatformMappingRequest,
)

if TYPE_CHECKING:
    # The name is in the type stubs only.
    from hookline.ingest.v1.ingest_service_pb2_grpc import IngestServiceAsyncStub


class PlatformCalls(Calls):
    """What `AsyncClient` does with platforms and their mappings."""

    _ingest_service: Service
    _ingest_stub: "IngestServiceAsyncStub"

    async def list_platforms(self, company: str) -> Sequence[Platform]:
        """Gives the platforms: see `Client.list_platforms`."""
        request = ListPlatformsRequest(company_id=company)
        return (await self._call(self._ingest_service, self._ingest_stub.ListPlatforms, request)).platforms

    async def put_platform_mapping(self, company: str, mapping: str) -> Platform:
        """Stores a mapping of the company's own: see `Client.put_platform_mapping`."""
        request = PutPlatformMappingRequest(company_id=company, mapping=mapping)
        return (await self._call(self._ingest_service, self._ingest_stub.PutPlatformMapping, request)).platform

    async def delete_platform_mapping(self, company: str, name: str) -> None:
        """Removes a mapping of the company's own: see `Client.delete_platform_mapping`."""
        request = DeletePlatformMappingRequest(company_id=company, name=name)
        await self._call(self._ingest_service, self._ingest_stub.DeletePlatformMapping, request)

    async def preview_mapping(
        self,
        company: str,
        payload: bytes,
        platform: str = "",
        source: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        query: str = "",
        mapping: str = "",
    ) -> PreviewMappingResponse:
        """Shows what would become of an event: see `Client.preview_mapping`."""
        event = requests.incoming_event(payload, platform, source, headers, query)
        request = PreviewMappingRequest(company_id=company, event=event, mapping=mapping)
        return await self._call(self._ingest_service, self._ingest_stub.PreviewMapping, request)

    async def preview_quarantined(
        self, company: str, quarantine_id: str, *, mapping: str = ""
    ) -> PreviewMappingResponse:
        """Shows what would become of what lies in quarantine: see `Client.preview_quarantined`."""
        request = PreviewMappingRequest(company_id=company, quarantine_id=quarantine_id, mapping=mapping)
        return await self._call(self._ingest_service, self._ingest_stub.PreviewMapping, request)
