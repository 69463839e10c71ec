"""The key that encrypts credentials, where the suite brings everything along: kept in the data directory, beside the
database and not in it."""

import os

from cryptography.fernet import Fernet

from shared.settings import Settings


def keep_secret_key(settings: Settings) -> str:
    """The key of the settings, else the one in the data directory, which is made when there is none."""
    if settings.secret_key:
        return settings.secret_key
    file = settings.data_dir.absolute() / "secret.key"
    if not file.exists():
        # Whole under its name or not there at all, and for nobody else to read.
        part = file.with_suffix(".part")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as key:
            key.write(Fernet.generate_key())
        part.replace(file)
    return file.read_text().strip()
