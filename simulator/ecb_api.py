"""A stand-in of the European Central Bank's data API on loopback: its daily euro rates as CSV.

| call | answers |
|---|---|
| `GET /service/data/EXR/D..EUR.SP00.A?startPeriod=&endPeriod=&detail=&format=csvdata` | rates |

Series in alphabetical order, each with its days ascending; `detail=dataonly` leaves out the
attributes. Weekends and holidays have no row; a currency that was suspended has rows with an empty
value or `NaN`. A period without any observation is 404. Another series, format or parameter is 400.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from simulator.ads_api import serve_app

_KEY_COLUMNS = (
    *("KEY", "FREQ", "CURRENCY", "CURRENCY_DENOM", "EXR_TYPE", "EXR_SUFFIX"),
    *("TIME_PERIOD", "OBS_VALUE"),
)
_ATTRIBUTES = ("OBS_STATUS", "OBS_CONF", "TIME_FORMAT", "COLLECTION", "DECIMALS", "TITLE", "UNIT")
_PARAMS = {"startPeriod", "endPeriod", "detail", "format"}


@dataclass
class EcbApi:
    """The running stand-in; attributes may be changed between two requests.

    `rates`: (day, currency) to units for one euro, as the ECB writes them; '' and 'NaN' are days
    without a value. `faults`: status codes of the next answers, in their order. `wrong`: requests
    refused as wrong.
    """

    rates: dict[tuple[date, str], str] = field(default_factory=dict)
    faults: list[int] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    url: str = ""

    async def handle(self, request: Request) -> Response:
        """Answer with rates, or with the next scripted fault."""
        self.calls.append(request.url.query)
        if self.faults:
            return Response("<html>fault</html>", self.faults.pop(0), media_type="text/html")
        params = dict(request.query_params)
        if set(params) - _PARAMS or params.get("format") != "csvdata":
            self.wrong.append(request.url.query)
            return Response("Syntax error", 400)
        rows = self._rows(params)
        if not rows:
            return Response("No results found.", 404)
        columns = _KEY_COLUMNS + (() if params.get("detail") == "dataonly" else _ATTRIBUTES)
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\r\n")
        writer.writeheader()
        writer.writerows(rows)
        return Response(text.getvalue(), media_type="application/vnd.sdmx.data+csv")

    def _rows(self, params: dict[str, str]) -> list[dict[str, Any]]:
        since = date.fromisoformat(params.get("startPeriod", "1999-01-04"))
        until = date.fromisoformat(params.get("endPeriod", "9999-12-31"))
        chosen = sorted((c, day) for day, c in self.rates if since <= day <= until)
        return [
            {
                "KEY": f"EXR.D.{currency}.EUR.SP00.A",
                "FREQ": "D",
                "CURRENCY": currency,
                "CURRENCY_DENOM": "EUR",
                "EXR_TYPE": "SP00",
                "EXR_SUFFIX": "A",
                "TIME_PERIOD": day.isoformat(),
                "OBS_VALUE": self.rates[day, currency],
                "OBS_STATUS": "A",
                "OBS_CONF": "F",
                "TIME_FORMAT": "P1D",
                "COLLECTION": "A",
                "DECIMALS": "4",
                "TITLE": f"{currency}/Euro, ECB reference exchange rate",
                "UNIT": currency,
            }
            for currency, day in chosen
        ]


@contextmanager
def serve_ecb_api(rates: dict[tuple[date, str], str] | None = None) -> Iterator[EcbApi]:
    """Serve rates on a free loopback port in a thread; yields the stand-in with its `url`."""
    api = EcbApi(dict(rates or {}))
    app = Starlette(routes=[Route("/service/data/EXR/D..EUR.SP00.A", api.handle)])
    with serve_app(app, "ecb-api") as url:
        api.url = url
        yield api
