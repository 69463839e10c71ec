"""A gRPC server that does nothing, the limit of unary ingest: `python -m bench.echo_server <address>`.

It answers every event with the same response, of the size of a real one, from a plain grpc.aio server on the loop that
the services run on. Ends when its standard input does."""

import asyncio
import sys
from typing import Any

import grpc
import uvloop

from hookline.ingest.v1.ingest_service_pb2 import IngestEventRequest, IngestEventResponse, IngestResult, Outcome

_ANSWER = IngestEventResponse(
    result=IngestResult(
        outcome=Outcome.OUTCOME_ACCEPTED, event_id="01890a5d-ac96-774b-bcce-b302099a8057", sequence=100_000
    )
)


async def _answer(request: IngestEventRequest, context: Any) -> IngestEventResponse:
    return _ANSWER


async def main(address: str) -> None:
    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(
        _answer, IngestEventRequest.FromString, IngestEventResponse.SerializeToString
    )
    server.add_registered_method_handlers("hookline.ingest.v1.IngestService", {"IngestEvent": method})
    server.add_insecure_port(address)
    await server.start()
    print("serving", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
