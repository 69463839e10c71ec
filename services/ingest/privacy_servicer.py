"""PrivacyService: converts requests, calls, converts back."""

from collections.abc import AsyncIterator

from hookline.ingest.v1 import privacy_service_pb2 as pb
from hookline.ingest.v1 import privacy_service_pb2_grpc
from services.ingest.cache_emptying import empty_cache
from services.ingest.erase_store import Counts
from services.ingest.erased_keys import ErasedKeys
from services.ingest.erasing import Person
from services.ingest.erasure import Erasure
from shared import db, requests
from shared.errors import InvalidField, Violation
from shared.interceptors import Context


class PrivacyServicer(privacy_service_pb2_grpc.PrivacyServiceServicer):
    """See protos/hookline/ingest/v1/privacy_service.proto."""

    def __init__(self, pool: db.Pool, erased_keys: ErasedKeys, redis_url: str | None) -> None:
        self._pool = pool
        self._erased_keys = erased_keys
        self._redis_url = redis_url

    async def EraseSubject(
        self, request: pb.EraseSubjectRequest, context: Context
    ) -> AsyncIterator[pb.EraseSubjectResponse]:
        company_id = requests.company(request.company_id)
        try:
            person = Person(request.email, request.document)
        except ValueError as error:
            field, _, description = str(error).partition(": ")
            raise InvalidField(Violation(field, description)) from None
        erasure = Erasure(self._pool, self._erased_keys, company_id, person, dry_run=request.dry_run)
        counts = Counts()
        async for counts in erasure.steps():
            yield _response(counts)
        if not request.dry_run:
            await empty_cache(self._redis_url, company_id)
        yield _response(counts, done=True)


def _response(counts: Counts, *, done: bool = False) -> pb.EraseSubjectResponse:
    return pb.EraseSubjectResponse(
        looked_through=counts.looked_through,
        events=counts.events,
        quarantined=counts.quarantined,
        conflicts=counts.conflicts,
        done=done,
    )
