"""A reader that takes nothing for too long is dropped, and told so when it looks again."""

from prometheus_client import REGISTRY

from hookline.export.v1 import export_service_pb2 as pb
from tests.exports import NDJSON, exported
from tests.in_process import Ingesting, exporting
from tests.refusals import refused
from tests.samples import grapfy, send
from tests.waiting import eventually

REQUEST = pb.ExportEventsRequest(company_id="acme", format=NDJSON)
METHOD = "hookline.export.v1.ExportService/ExportEvents"


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {"method": METHOD, **labels}) or 0


async def test_a_reader_that_takes_nothing_is_dropped(ingest: Ingesting, database_url: str) -> None:
    for start in (0, 12, 24):
        await send(ingest.stub, "acme", [grapfy(n, x="x" * 1_000_000) for n in range(start, start + 12)])
    dropped = metric("hookline_grpc_calls_total", code="ABORTED")
    async with exporting(database_url, stall_seconds=0.5) as export:
        stream = export.export.ExportEvents(REQUEST)
        messages = aiter(stream)
        assert (await anext(messages)).WhichOneof("part") == "header"
        await eventually(
            lambda: metric("hookline_grpc_calls_total", code="ABORTED") > dropped, what="the server has ended the call"
        )
        assert metric("hookline_grpc_calls_running") == 0
        # What was on its way still comes, and then the reason.
        refusal = await refused(messages)
        assert (refusal.code.name, refusal.reason, refusal.metadata) == (
            "ABORTED",
            "READER_STALLED",
            {"seconds": "0.5"},
        )
        # Others are served.
        assert (await exported(export.export, "acme", NDJSON)).trailer.rows == 36
