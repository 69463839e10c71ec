"""How the client for ordinary code makes a unary call. What it can call is in its parts."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import grpc

from hookline.client.requests import Page, PageRequest
from hookline.client.retry import Retry, Service

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_PageRequest = TypeVar("_PageRequest", bound=PageRequest)
_Page = TypeVar("_Page", bound=Page)
_Item = TypeVar("_Item")


class Calls:
    """What every part of `Client` is made of."""

    _timeout: float

    def _call(
        self, service: Service, method: "grpc.UnaryUnaryMultiCallable[_Request, _Response]", request: _Request
    ) -> _Response:
        """Sends the request, and again for as long as `Retry` allows."""
        retry = Retry(service)
        while True:
            try:
                response = method(request, timeout=self._timeout)
            except grpc.RpcError as error:
                delay = retry.delay_after(error)
            else:
                retry.progressed()
                return response
            time.sleep(delay)

    def _call_once(
        self,
        service: Service,
        method: "grpc.UnaryUnaryMultiCallable[_Request, _Response]",
        request: _Request,
    ) -> _Response:
        """Sends the request, but not again: it may have been done."""
        try:
            response = method(request, timeout=self._timeout)
        except grpc.RpcError as error:
            raise service.error(error) from error
        service.reached = True
        return response

    def _items(
        self,
        service: Service,
        method: "grpc.UnaryUnaryMultiCallable[_PageRequest, _Page]",
        request: _PageRequest,
        items: Callable[[_Page], Iterable[_Item]],
    ) -> Iterator[_Item]:
        """Goes through the items of a page and of all after it, asking for each page when it is needed."""
        while True:
            page = self._call(service, method, request)
            yield from items(page)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
