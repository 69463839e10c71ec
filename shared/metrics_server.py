"""Where Prometheus fetches a process's metrics."""

import io
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import prometheus_client

from shared.errors import OperatorError
from shared.settings import split_address
from shared.tls import Certificates

SECONDS = 10.0
"""Until a connection that sends nothing, or takes nothing, is closed."""


@contextmanager
def serving_metrics(address: str | None, certificates: Certificates | None = None) -> Iterator[None]:
    """Serves Prometheus metrics until the block ends, by TLS where there are certificates; nothing when there is no
    address. Raises OperatorError when the address can't be had."""
    if address is None:
        yield
        return
    host, port = split_address(address)
    kind = _IPv6Server if ":" in host else _Server
    try:
        server = make_server(host, port, prometheus_client.make_wsgi_app(), kind, _Handler)
    except OSError:
        raise OperatorError(f"{address} can't be listened on for metrics: the port is taken.") from None
    server.context = certificates.context(ask_clients=True) if certificates else None
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    context: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        # In the connection's own thread: who connects and says nothing keeps nobody waiting.
        request.settimeout(SECONDS)
        if self.context is None:
            super().finish_request(request, client_address)
            return
        with self.context.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing: a caller that leaves, or that speaks no TLS, is none of our defects."""


class _IPv6Server(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the base class
        """Says nothing of calls."""

    def get_stderr(self) -> Any:
        # Where it would tell, with a trace, of callers that leave before they have read all.
        return io.StringIO()
