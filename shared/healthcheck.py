"""Whether a process is well, as an exit status: `python -m shared.healthcheck TARGET`, for container health checks.

TARGET is `host:port` of a gRPC server, which must call itself SERVING, or an http:// URL, which must answer 200.
"""

import http.client
import sys
from collections.abc import Sequence
from urllib.parse import urlsplit

import click
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT = 3.0
"""Seconds until no answer counts as a bad one."""


def main(arguments: Sequence[str]) -> int:
    """Returns 0 when the target is well; else 1, and says why on stderr."""
    if len(arguments) != 1:
        click.echo("usage: python -m shared.healthcheck host:port | http://host:port/path", err=True)
        return 2
    [target] = arguments
    trouble = _http_trouble(target) if target.startswith("http://") else _grpc_trouble(target)
    if trouble:
        click.echo(f"{target}: {trouble}", err=True)
    return 1 if trouble else 0


def _grpc_trouble(address: str) -> str | None:
    # A proxy of the environment's is not for this machine's own ports.
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
        except grpc.RpcError as error:
            return str(error.code().name)
    if answer.status == health_pb2.HealthCheckResponse.SERVING:
        return None
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def _http_trouble(url: str) -> str | None:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT)
    try:
        connection.request("GET", parts.path or "/")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()
    return None if status == 200 else f"status {status}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
