"""The part of the client for ordinary code that erases persons."""

import time
from collections.abc import Iterator

import grpc

from hookline.client.blocking_calls import Calls
from hookline.client.retry import Retry, Service
from hookline.ingest.v1.privacy_service_pb2 import EraseSubjectRequest, EraseSubjectResponse
from hookline.ingest.v1.privacy_service_pb2_grpc import PrivacyServiceStub


class PrivacyCalls(Calls):
    """What `Client` does for persons who want to be forgotten."""

    _ingest_service: Service
    _privacy_stub: PrivacyServiceStub

    def erase_subject(
        self, company: str, *, email: str = "", document: str = "", dry_run: bool = False
    ) -> Iterator[EraseSubjectResponse]:
        """Removes a person's data from all that a company has stored, and gives how far it is after each step; the last
        one says `done`. With `dry_run` only counts. At least one of `email` and `document` is needed: whatever holds
        one of them is the person's. There is no way back.

        Happens as the iterator is read. After a break it starts over, which does no harm; the counts then start over,
        too.
        """
        request = EraseSubjectRequest(company_id=company, email=email, document=document, dry_run=dry_run)
        retry = Retry(self._ingest_service)
        while True:
            call = self._privacy_stub.EraseSubject(request)
            try:
                for progress in call:
                    retry.progressed()
                    yield progress
                    if progress.done:
                        return
                delay = retry.delay_after(self._ingest_service.ended_early("it was done"))
            except grpc.RpcError as error:
                delay = retry.delay_after(error)
            finally:
                call.cancel()
            time.sleep(delay)
