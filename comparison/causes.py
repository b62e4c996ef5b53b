"""What happened to a figure (`mechanic`, seen in the marts), said as a cause.

Between two nights the rules are the same and the data differ: the mechanic says what came late.
Between two sets of rules the data are the same, so what differs is the rules' doing; where several
differ, the mechanic says which of them can do it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

OTHER = "other"
RULES = "rules"
PROJECT = "project"

OF_NIGHTS: Mapping[str, str] = {
    "new_touch": "late_message",
    "lost_touch": "late_message",
    "other_touch": "late_message",
    "split": "late_link",
    "merged": "late_link",
    "evidence": "late_referral",
    "resolved": "ad_resolved",
    "placed": "ad_moved",
    "day": "day_boundary",
    "exclusion": "exclusion",
    "erased": "erased",
    "outcome": "late_outcome",
    "outcome_person": "late_link",
    "stage": "stage_mapping",
    "latest": "late_message",
    "spend": "restated_spend",
    "spend_day": "late_spend",
    "spend_placed": "ad_resolved",
    "rate": "exchange_rate",
}

_PEOPLE = ("recycled_number_days", "lead_scope", "lead_cycle_days")
_CAN_DO: Mapping[str, Collection[str]] = {
    "new_touch": ("conversation_gap_days", *_PEOPLE),
    "lost_touch": ("conversation_gap_days", *_PEOPLE),
    "other_touch": ("first_touch", *_PEOPLE),
    "split": _PEOPLE,
    "merged": _PEOPLE,
    "erased": _PEOPLE,
    "evidence": ("conversation_gap_days", "recycled_number_days"),
    "day": ("reporting_timezone",),
    "outcome": _PEOPLE,
    "outcome_person": _PEOPLE,
    "latest": ("conversation_gap_days", *_PEOPLE),
    "rate": ("reporting_currency", "exchange_rates"),
}
# What no rule changes: an ad's campaign, an exclusion, the platform's own amounts.
_NOT_RULES = {
    "resolved", "placed", "exclusion", "erased", "outcome", "stage", "spend", "spend_day",
    "spend_placed",
}  # fmt: skip


def causes_of_rules(differing: Collection[str]) -> dict[str, str]:
    """Mechanic -> the rule of `differing` that does it; `rules` where more than one may."""
    return {mechanic: _responsible(mechanic, differing) for mechanic in OF_NIGHTS}


def causes_of_nights(differing: Collection[str] = ()) -> dict[str, str]:
    """Mechanic -> what came late; `rules` where the rules may have done it in between."""
    causes = dict(OF_NIGHTS)
    if differing:
        causes |= dict.fromkeys(OF_NIGHTS.keys() - _NOT_RULES, RULES)
    return causes


def _responsible(mechanic: str, differing: Collection[str]) -> str:
    if len(differing) == 1:
        return next(iter(differing))
    able = [rule for rule in differing if rule == PROJECT or rule in _CAN_DO.get(mechanic, ())]
    return able[0] if len(able) == 1 else RULES if differing else OTHER
