"""What Meta says of a token of ours: whether it is valid, until when, and what it may."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ingestion.graph import GraphClient

SOON = timedelta(days=14)
"""Time in which a token has to be renewed: enough for a holiday and for who may make tokens."""
READ_ADS = frozenset({"ads_read", "ads_management"})
"""Either of these lets a token read ads and spend."""
RENEW = (
    "make a system user token with ads_read that never expires (Business settings > System users) "
    "and put it into META_ACCESS_TOKEN"
)


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """`ends_at`: null where it has no end. `scopes`: null where Meta does not tell them."""

    is_valid: bool
    ends_at: datetime | None
    scopes: frozenset[str] | None

    @property
    def may_read_ads(self) -> bool:
        """Whether it has a permission to read ads, as far as that is known."""
        return self.scopes is None or bool(READ_ADS & self.scopes)


def read_token(client: GraphClient, token: str) -> TokenFacts:
    """Ask Meta (`debug_token`). Raises what the client raises: `GraphStopError` for a dead one."""
    told = client.get("debug_token", input_token=token).get("data", {})
    # 0: never. Data access of a person's token ends by itself, a system user's does not.
    ends = [t for k in ("expires_at", "data_access_expires_at") if (t := int(told.get(k) or 0))]
    scopes = told.get("scopes")
    return TokenFacts(
        is_valid=bool(told.get("is_valid", True)),
        ends_at=datetime.fromtimestamp(min(ends), UTC) if ends else None,
        scopes=frozenset(scopes) if isinstance(scopes, list) else None,
    )
