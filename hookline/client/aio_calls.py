"""How the client for asyncio makes a unary call: see `blocking_calls`."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
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
    """What every part of `AsyncClient` is made of."""

    _timeout: float

    async def _call(
        self, service: Service, method: "grpc.aio.UnaryUnaryMultiCallable[_Request, _Response]", request: _Request
    ) -> _Response:
        """Sends the request, and again for as long as `Retry` allows."""
        retry = Retry(service)
        while True:
            try:
                response = await method(request, timeout=self._timeout)
            except grpc.RpcError as error:
                delay = retry.delay_after(error)
            else:
                retry.progressed()
                return response
            await asyncio.sleep(delay)

    async def _call_once(
        self,
        service: Service,
        method: "grpc.aio.UnaryUnaryMultiCallable[_Request, _Response]",
        request: _Request,
    ) -> _Response:
        """Sends the request, but not again: it may have been done."""
        try:
            response = await method(request, timeout=self._timeout)
        except grpc.RpcError as error:
            raise service.error(error) from error
        service.reached = True
        return response

    async def _items(
        self,
        service: Service,
        method: "grpc.aio.UnaryUnaryMultiCallable[_PageRequest, _Page]",
        request: _PageRequest,
        items: Callable[[_Page], Iterable[_Item]],
    ) -> AsyncGenerator[_Item, None]:
        """Goes through the items of a page and of all after it, asking for each page when it is needed."""
        while True:
            page = await self._call(service, method, request)
            for item in items(page):
                yield item
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
