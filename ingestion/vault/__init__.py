"""The vault keeps envelopes as they were received; `open_vault` opens the vault at a URL."""

from __future__ import annotations

import sqlalchemy as sa

from ingestion.vault.vault import Vault, VaultError


def open_vault(url: str) -> Vault:
    """Connect, and create the table if it is missing.

    Raises `VaultError` for a URL of another kind, `VaultUnavailableError` if it cannot be reached.
    """
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise VaultError(
            "CTWA_VAULT_URL is not a URL: expected sqlite:////path/vault.db or "
            "postgresql+psycopg://user:password@host/database"
        ) from None
    if parsed.get_backend_name() == "sqlite":
        from ingestion.vault.sqlite import SqliteVault

        return SqliteVault(parsed)
    if parsed.get_backend_name() == "postgresql":
        from ingestion.vault.postgres import PostgresVault

        return PostgresVault(parsed)
    raise VaultError(
        f"CTWA_VAULT_URL: a vault in {parsed.get_backend_name()} is not supported; "
        "use sqlite:///... or postgresql+psycopg://..."
    )
