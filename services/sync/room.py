"""Memory for pages: how much of it a process, or a run, may have under way."""

import asyncio


class Room:
    """Room for so many bytes. Whoever finds too little waits for what others give back, in the order of asking: what is
    large is not passed for ever by what is small. More than all of it is given to one that is alone."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._turn = asyncio.Lock()
        self._given_back = asyncio.Event()
        self.taken = 0
        """Bytes that are not given back."""

    async def take(self, size: int) -> None:
        """Takes so many bytes, as soon as they are there."""
        async with self._turn:
            while self.taken and self.taken + size > self._most:
                self._given_back.clear()
                await self._given_back.wait()
            self.taken += size

    def give_back(self, size: int) -> None:
        """Gives back bytes that were taken."""
        self.taken -= size
        self._given_back.set()
