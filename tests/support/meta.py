"""What Meta's API said of a small advertiser, as rows of the lake.

`Meta` gives each read the next `read_no`, as the landing does. Ids are those of three accounts:
BR in reais, US in dollars on the Pacific coast, CL in pesos for which the seed has no rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.warehouse import DbtWorld

BR, US, CL = "1010035716096012", "2020035716096012", "3030035716096012"


@dataclass
class Meta:
    """The landing of Meta's API for one world: each call of `objects` or `spend` is one read."""

    world: DbtWorld
    read_no: int = field(default=0)

    def objects(self, at: str, **tables: list[dict[str, Any]]) -> None:
        """One read of metadata: `ads=[...]`, `campaigns=[...]`; rows that are new or changed."""
        self.read_no += 1
        for table, rows in tables.items():
            self.world.write(f"meta_ads.{table}", [self._read(at) | row for row in rows])

    def spend(
        self,
        at: str,
        days: Mapping[tuple[str, str], tuple[str, list[dict[str, Any]]]],
        *,
        currency: str = "BRL",
        until: str | None = None,
    ) -> None:
        """One complete read of account days: (account, day) -> (account's own total, ad rows)."""
        self.read_no += 1
        read = self._read(at)
        insights, controls = [], []
        for (account, day), (total, ads) in days.items():
            place = {"account_id": account, "spend_date": day, "currency": currency}
            insights += [read | place | {"impressions": 100, "clicks": 10} | ad for ad in ads]
            controls.append(
                read
                | place
                | {
                    "account_spend": total,
                    "account_impressions": 100 * len(ads),
                    "account_clicks": 10 * len(ads),
                    "ad_rows": len(ads),
                    "content_hash": f"{self.read_no}/{account}/{day}",
                }
            )
        self.world.write("meta_ads.spend_rows", insights)
        self.world.write("meta_ads.spend_days", controls)
        for account in sorted({account for account, _ in days}):
            read_days = [day for a, day in days if a == account]
            last = until or max(read_days)
            row = {"account_id": account, "since_date": min(read_days), "until_date": last}
            self.world.write("meta_ads.spend_reads", [read | row])

    def _read(self, at: str) -> dict[str, Any]:
        return {"read_no": self.read_no, "read_at": at}


def ad_row(ad_id: str, spend: str, **columns: Any) -> dict[str, Any]:
    """Insights of one ad: its spend, and what else a test says."""
    return {"ad_id": ad_id, "spend": spend, **columns}
