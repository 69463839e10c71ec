"""Whether a process is well, as an exit status: `python -m shared.healthcheck TARGET`, for container health checks.

TARGET is `host:port` of a gRPC server, which must call itself SERVING, or an http:// URL, which must answer 200. Where
HOOKLINE_TLS_CERTIFICATE is set, as it is for the process itself, both are asked by TLS.
"""

import http.client
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import click
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from shared import own_server

TIMEOUT = own_server.TIMEOUT
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
    try:
        channel = _channel(address)
    except OSError as error:
        return type(error).__name__
    with channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
        except grpc.RpcError as error:
            return str(error.code().name)
    if answer.status == health_pb2.HealthCheckResponse.SERVING:
        return None
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def _channel(address: str) -> grpc.Channel:
    # A proxy of the environment's is not for this machine's own ports.
    options = [("grpc.enable_http_proxy", 0)]
    certificate, key = _files()
    if certificate is None:
        return grpc.insecure_channel(address, options)
    credentials, more = own_server.credentials(address, certificate, key)
    return grpc.secure_channel(address, credentials, [*options, *more])


def _http_trouble(url: str) -> str | None:
    parts = urlsplit(url)
    connection: http.client.HTTPConnection | None = None
    try:
        certificate, key = _files()
        if certificate is None:
            connection = http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT)
        else:
            context = own_server.context(certificate, key)
            connection = http.client.HTTPSConnection(parts.netloc, timeout=TIMEOUT, context=context)
        connection.request("GET", parts.path or "/")
        answer = connection.getresponse()
        status = answer.status
        answer.read()
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        if connection:
            connection.close()
    return None if status == 200 else f"status {status}"


def _files() -> tuple[Path | None, Path | None]:
    """The certificate and the key of the process, as its environment names them."""
    certificate, key = (os.environ.get(f"HOOKLINE_TLS_{name}") for name in ("CERTIFICATE", "KEY"))
    return Path(certificate) if certificate else None, Path(key) if key else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
