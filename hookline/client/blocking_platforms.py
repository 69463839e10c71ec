"""The part of the client for ordinary code that says how payloads are understood."""

from collections.abc import Mapping, Sequence

from hookline.client import requests
from hookline.client.blocking_calls import Calls
from hookline.client.retry import Service
from hookline.ingest.v1.ingest_service_pb2 import (
    DeletePlatformMappingRequest,
    ListPlatformsRequest,
    Platform,
    PreviewMappingRequest,
    PreviewMappingResponse,
    PutPlatformMappingRequest,
)
from hookline.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub


class PlatformCalls(Calls):
    """What `Client` does with platforms and their mappings."""

    _ingest_service: Service
    _ingest_stub: IngestServiceStub

    def list_platforms(self, company: str) -> Sequence[Platform]:
        """Gives the platforms that the company's payloads can be understood as, in the order in which they are tried:
        its own first."""
        request = ListPlatformsRequest(company_id=company)
        return self._call(self._ingest_service, self._ingest_stub.ListPlatforms, request).platforms

    def put_platform_mapping(self, company: str, mapping: str) -> Platform:
        """Stores a mapping of the company's own, as TOML: a new one, or in place of the one of that name. Within
        5 seconds it is in force everywhere. Changes no event that is stored already.

        Raises InvalidRequest when the mapping is malformed, or is the company's 101st.
        """
        request = PutPlatformMappingRequest(company_id=company, mapping=mapping)
        return self._call(self._ingest_service, self._ingest_stub.PutPlatformMapping, request).platform

    def delete_platform_mapping(self, company: str, name: str) -> None:
        """Removes a mapping of the company's own; a built-in one of that name is in force again.

        Raises NotFound when there is none of that name; also when this very call removed it, but the answer did not
        get through.
        """
        request = DeletePlatformMappingRequest(company_id=company, name=name)
        self._call(self._ingest_service, self._ingest_stub.DeletePlatformMapping, request)

    def preview_mapping(
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
        """Shows what would become of an event, by `mapping` (TOML) where that is given, else by those in force. Stores
        nothing. Raises InvalidRequest when `mapping` is malformed."""
        event = requests.incoming_event(payload, platform, source, headers, query)
        request = PreviewMappingRequest(company_id=company, event=event, mapping=mapping)
        return self._call(self._ingest_service, self._ingest_stub.PreviewMapping, request)

    def preview_quarantined(self, company: str, quarantine_id: str, *, mapping: str = "") -> PreviewMappingResponse:
        """Shows what would become of what lies in quarantine: see `preview_mapping`. Raises NotFound when nothing has
        that id."""
        request = PreviewMappingRequest(company_id=company, quarantine_id=quarantine_id, mapping=mapping)
        return self._call(self._ingest_service, self._ingest_stub.PreviewMapping, request)
