"""The part of the client for asyncio that erases persons. Documented in `blocking_privacy`."""

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import grpc

from hookline.client.aio_calls import Calls
from hookline.client.retry import Retry, Service
from hookline.ingest.v1.privacy_service_pb2 import EraseSubjectRequest, EraseSubjectResponse

if TYPE_CHECKING:
    # The name is in the type stubs only.
    from hookline.ingest.v1.privacy_service_pb2_grpc import PrivacyServiceAsyncStub


class PrivacyCalls(Calls):
    """What `AsyncClient` does for persons who want to be forgotten."""

    _ingest_service: Service
    _privacy_stub: "PrivacyServiceAsyncStub"

    async def erase_subject(
        self, company: str, *, email: str = "", document: str = "", dry_run: bool = False
    ) -> AsyncGenerator[EraseSubjectResponse, None]:
        """Removes a person's data: see `Client.erase_subject`."""
        request = EraseSubjectRequest(company_id=company, email=email, document=document, dry_run=dry_run)
        retry = Retry(self._ingest_service)
        while True:
            call = self._privacy_stub.EraseSubject(request)
            try:
                async for progress in call:
                    retry.progressed()
                    yield progress
                    if progress.done:
                        return
                delay = retry.delay_after(self._ingest_service.ended_early("it was done"))
            except grpc.RpcError as error:
                delay = retry.delay_after(error)
            finally:
                call.cancel()
            await asyncio.sleep(delay)
