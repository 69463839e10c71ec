"""Webhooks as platforms send them: by HTTP, to an endpoint."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp

from hookline.ingest.v1 import endpoint_service_pb2
from hookline.ingest.v1 import ingest_service_pb2 as pb

if TYPE_CHECKING:
    from hookline.ingest.v1.endpoint_service_pb2_grpc import EndpointServiceAsyncStub


class NotTakenNowError(Exception):
    """503: the door is there, and asks to be tried again."""


async def open_endpoint(stub: "EndpointServiceAsyncStub", company: str, source: str, platform: str = "") -> str:
    """Makes an endpoint; gives the path of its URL."""
    request = endpoint_service_pb2.CreateEndpointRequest(company_id=company, source=source, platform=platform)
    return urlsplit((await stub.CreateEndpoint(request, timeout=30)).url).path


async def post(session: aiohttp.ClientSession, url: str, payload: bytes) -> pb.IngestResult:
    """Sends one webhook; gives what the answer says of it, as the gRPC API would. Raises NotTakenNowError, or aiohttp's
    ClientError when there is no answer."""
    async with session.post(url, data=payload) as response:
        answer = await response.json()
        if response.status == 503:
            raise NotTakenNowError(answer)
        result = result_of(response.status, answer)
        assert result, (response.status, answer)
        return result


def result_of(status: int, answer: Mapping[str, Any]) -> pb.IngestResult | None:
    """The door's answer as a result; None where it is about the request, not about an event. Fails when status and
    outcome do not go together."""
    reason = f"OUTCOME_REASON_{answer.get('reason', 'unspecified').upper()}"
    if answer["outcome"] == "unavailable" or reason not in pb.OutcomeReason.keys():  # noqa: SIM118
        return None
    outcome = pb.Outcome.Value(f"OUTCOME_{answer['outcome'].upper()}")
    expected = {pb.OUTCOME_QUARANTINED: (202,), pb.OUTCOME_REJECTED: (400, 401, 413, 431)}.get(outcome, (200,))
    assert status in expected, (status, answer)
    return pb.IngestResult(
        outcome=outcome,
        event_id=answer.get("event_id", ""),
        sequence=answer.get("sequence", 0),
        quarantine_id=answer.get("quarantine_id", ""),
        reason=pb.OutcomeReason.Value(reason),
        message=answer.get("message", ""),
    )
