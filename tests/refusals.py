"""What a server says when it refuses a call: the status with its details, taken apart."""

from collections.abc import AsyncIterable, Awaitable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status


@dataclass(frozen=True)
class Refusal:
    """`violations` are the descriptions by field; `retry_seconds` is None where the server does not say."""

    code: grpc.StatusCode
    reason: str
    message: str
    metadata: dict[str, str]
    violations: dict[str, str]
    retry_seconds: float | None


async def refused(call: Awaitable[Any] | AsyncIterable[Any]) -> Refusal:
    """Awaits a call, or reads a stream to its end, and expects it to be refused by Hookline."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _ended(call)
    return refusal(caught.value)


async def _ended(call: Awaitable[Any] | AsyncIterable[Any]) -> None:
    if isinstance(call, AsyncIterable):
        async for _ in call:
            pass
    else:
        await call


def refusal(error: grpc.aio.AioRpcError) -> Refusal:
    """Takes an error apart. Expects it to be one of Hookline's: with an ErrorInfo."""
    status = rpc_status.from_call(error)
    assert status is not None, f"no google.rpc.Status came with {error.code()}: {error.details()}"
    assert (status.code, status.message) == (error.code().value[0], error.details())
    info, bad_request, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), None
    for detail in status.details:
        if detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
        else:
            assert detail.Unpack(info) or detail.Unpack(bad_request), f"unexpected detail {detail.type_url}"
    assert info.domain == "hookline"
    return Refusal(
        code=error.code(),
        reason=info.reason,
        message=status.message,
        metadata=dict(info.metadata),
        violations={violation.field: violation.description for violation in bad_request.field_violations},
        retry_seconds=None if retry is None else retry.retry_delay.ToTimedelta().total_seconds(),
    )
