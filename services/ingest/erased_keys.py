"""Dedup keys that were a person's: the ledger knows them by a digest that only who has HOOKLINE_SECRET_KEY can make."""

from collections.abc import Iterable

from services.ingest.erasing import ERASED_KEY
from shared.signing import Signer

Key = tuple[str, str]
"""Source and dedup key."""


class ErasedKeys:
    """Makes digests of keys, and remembers which companies have had anything erased.

    A company's erasure epoch counts the times. What is remembered may be behind: the statement that stores events
    compares it with the company's row, and whoever is told that it has changed asks anew (`note`).
    """

    def __init__(self, secret_key: str) -> None:
        self._signer = Signer(secret_key, "erased dedup key")
        self._epochs: dict[str, int] = {}

    def epoch(self, company_id: str) -> int:
        """The epoch as it was when this process last heard of it."""
        return self._epochs.get(company_id, 0)

    def note(self, company_id: str, epoch: int) -> None:
        """The epoch is this now."""
        self._epochs[company_id] = epoch

    def erased(self, company_id: str, source: str, dedup_key: str) -> str:
        """What stands in place of a key once it is erased."""
        return self._ever_erased(company_id, source, dedup_key)[0]

    def look_up(self, company_id: str, keys: Iterable[Key]) -> dict[Key, Key]:
        """Under which keys those may be known as well, if anything of the company was ever erased."""
        if not self.epoch(company_id):
            return {}
        return {
            (source, erased): (source, key)
            for source, key in keys
            for erased in self._ever_erased(company_id, source, key)
        }

    def _ever_erased(self, company_id: str, source: str, dedup_key: str) -> list[str]:
        """The same under each of the keys that the setting has."""
        place = "\0".join((company_id, source, dedup_key)).encode()
        return [ERASED_KEY + digest.hex() for digest in self._signer.digests(place)]
