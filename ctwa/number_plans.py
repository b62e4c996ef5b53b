"""Changes of numbering plans since WhatsApp came into common use (rule R4).

WhatsApp kept many ids as they were before a change, while people type the new number and CRMs hold
either, so one person is seen under both (E82). Each plan says how old numbers began and how they
begin now; the remaining digits did not change. A number counts as an old one only by its country,
its length and its first digits together, and only where today's plan has no such number: no
landline and no new number is ever taken for another person's old one.

Left out, because an old number cannot be told from one in use today, or because nothing published
says what each became: Cameroon's landlines, French Polynesia (2014), Guinea-Bissau
(2014), Kosovo's numbers under +377 and +386 (2017), Manila's landlines (2019). Brazil, Mexico and
Argentina still spell one number in two ways (`ctwa.pseudonym.phone_match_key`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class Plan:
    """One change: numbers of `length` digits after the country code, by how they began."""

    country: str
    """ISO 3166."""
    code: str
    since: date
    """First day of the new numbers."""
    length: int
    """Digits of an old number, without the country code."""
    prefixes: Mapping[str, str]
    """How old numbers began, and how they begin now; all keys have the same length."""
    source: str


def _after(new: str, old: str) -> dict[str, str]:
    """Prefixes of old numbers that now have `new` in front of them."""
    return {prefix: new + prefix for prefix in old.split()}


PLANS = (
    Plan(
        "CM", "237", date(2014, 11, 21), 8, _after("6", "6 7 9"),
        "Agence de régulation des télécommunications, 25 September 2014: 6 before every mobile "
        "number",
    ),
    Plan(
        "MU", "230", date(2013, 9, 1), 7, _after("5", "7 9"),
        "ICTA, decision of 11 February 2013: 5 before every mobile number; those that began with "
        "2, 4 or 8 look like landlines of today",
    ),
    Plan(
        "VN", "84", date(2018, 9, 15), 10,
        {
            "162": "32", "163": "33", "164": "34", "165": "35", "166": "36", "167": "37",
            "168": "38", "169": "39", "120": "70", "121": "79", "122": "77", "126": "76",
            "128": "78", "123": "83", "124": "84", "125": "85", "127": "81", "129": "82",
            "186": "56", "188": "58", "199": "59",
        },
        "Ministry of Information and Communications, plan of 2018: mobile numbers of eleven digits "
        "became ten",
    ),
    Plan(
        "GA", "241", date(2019, 11, 15), 8,
        {"01": "11", "02": "62", "04": "74", "05": "65", "06": "66", "07": "77"},
        "ARCEP Gabon, communiqués of 3 June and July 2019",
    ),
    Plan(
        # As many people write them: without the zero that old numbers kept even from abroad.
        "GA", "241", date(2019, 11, 15), 7,
        {"1": "11", "2": "62", "4": "74", "5": "65", "6": "66", "7": "77"},
        "ARCEP Gabon, communiqués of 3 June and July 2019",
    ),
    Plan(
        "CI", "225", date(2021, 1, 31), 8,
        _after("01", "01 02 03 40 41 42 43 50 51 52 53 70 71 72 73")
        | _after("05", "04 05 06 44 45 46 54 55 56 64 65 66 74 75 76 84 85 86 94 95 96")
        | _after("07", "07 08 09 47 48 49 57 58 59 67 68 69 77 78 79 87 88 89 97 98"),
        "ARTCI, 28 July 2020: 01 (Moov), 05 (MTN) and 07 (Orange) by the operator that the old "
        "number's first two digits name",
    ),
    Plan(
        "CI", "225", date(2021, 1, 31), 8,
        _after("21", "208 218 228 238")
        | _after("25", "200 210 220 230 240 300 310 320 330 340 350 360")
        | _after(
            "27",
            "202 203 212 213 215 217 224 225 234 235 243 244 245 306 316 319 327 337 347 359 368",
        ),
        "ARTCI, 28 July 2020: 21, 25 and 27 before landlines of Moov, MTN and Orange",
    ),
    Plan(
        "CO", "57", date(2021, 9, 1), 8,
        {
            f"{area}{first}": f"60{area}{first}"
            for area in "1245678" for first in "2345678"
            if (area, first) != ("4", "6")  # 46 is another service today
        },
        "CRC, resolution 5826 of 2019: 60 before the area code of every landline",
    ),
    Plan(
        "BJ", "229", date(2024, 11, 30), 8, _after("01", "2 4 5 6 9"),
        "ARCEP Bénin, 2024: 01 before every number",
    ),
)  # fmt: skip


_BY_CODE = {p.code: tuple(o for o in PLANS if o.code == p.code) for p in PLANS}


def current(digits: str) -> str:
    """Digits of a full international number as today's plan has them.

    >>> current("22507123456"), current("2250707123456")
    ('2250707123456', '2250707123456')
    """
    for plan in _BY_CODE.get(digits[:3]) or _BY_CODE.get(digits[:2]) or ():
        start = len(plan.code)
        if len(digits) == start + plan.length:
            end = start + len(next(iter(plan.prefixes)))
            new = plan.prefixes.get(digits[start:end])
            if new is not None:
                return plan.code + new + digits[end:]
    return digits


def older(digits: str) -> list[str]:
    """How today's number was written before its plan changed; usually nothing.

    A number assigned after the change has such a spelling as well, but nobody ever used it.
    """
    found = []
    for plan in _BY_CODE.get(digits[:3]) or _BY_CODE.get(digits[:2]) or ():
        for old, new in plan.prefixes.items():
            start = plan.code + new
            rest = digits.removeprefix(start)
            if digits.startswith(start) and len(rest) == plan.length - len(old):
                found.append(plan.code + old + rest)
    return found


__all__ = ["PLANS", "Plan", "current", "older"]
