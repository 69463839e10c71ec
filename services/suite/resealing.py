"""`python -m services reseal`: what is stored encrypted is encrypted anew, so that an old key can go."""

from shared import db
from shared.errors import OperatorError
from shared.vault import Vault

# Table, what tells its rows apart within a company, and what is encrypted.
_SEALED = (
    ("sources", "source", "credential"),
    ("signing_secrets", "source", "secret"),
    ("signing_secrets", "source", "old_secret"),
    ("alert_channels", "channel", "secret"),
)


async def reseal(connection: db.Connection, vault: Vault) -> tuple[int, list[str]]:
    """Encrypts all secrets of all companies with the vault's first key, in one transaction. Gives how many, and the
    places of those that none of its keys opens; they stay as they are."""
    count = 0
    unreadable = []
    async with connection.transaction():
        for table, key, column in _SEALED:
            rows = await connection.fetch(
                f"SELECT company_id, {key} AS key, {column} AS sealed FROM hookline.{table}"  # noqa: S608 - names of ours
                f" WHERE {column} IS NOT NULL ORDER BY company_id, {key} FOR UPDATE"
            )
            for row in rows:
                try:
                    sealed = vault.encrypt(vault.decrypt(row["sealed"]))
                except OperatorError:
                    unreadable.append(f"{table}.{column} of {row['company_id']}, {row['key']}")
                    continue
                await connection.execute(
                    f"UPDATE hookline.{table} SET {column} = $3 WHERE company_id = $1 AND {key} = $2",  # noqa: S608 - names of ours
                    row["company_id"],
                    row["key"],
                    sealed,
                )
                count += 1
    return count, unreadable
