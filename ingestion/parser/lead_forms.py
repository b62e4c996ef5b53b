"""Meta's instant forms: notices of the page webhook, and the leads that were read by id or in bulk.

A notice (page field `leadgen`) has ids only. The lead itself is read from the Graph API into the
vault (`ingestion.crm.lead_forms`), one body for each: `lead` as Meta gave it, `page_id`, `read_at`,
and `is_test` where the form's list of test leads has it.

| body | rows |
|---|---|
| notice | `form_notices` |
| lead | `web_leads`, as of a form of the site, with Meta's ids; links of the person's identities |

Notice, repeated notice and lead are one form by the lead's id. It is an identity of kind `web_lead`
and may be named as `lead_id` by outcomes. Of the answers only phones and e-mail addresses are read:
those of Meta's own questions; without one, those of a company's own question whose name says so.
Test leads (rule R14) are kept and marked, and link nobody.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from ctwa.phones import DEFAULT_COUNTRY, PhoneError, typed_phone
from ingestion.pages import Page
from ingestion.parser.limits import Reject
from ingestion.parser.people import Keys, Link, phone_country
from ingestion.parser.rows import Path, Rows
from ingestion.parser.values import (
    child,
    children,
    iso_moment,
    moment,
    required,
    settled,
    text,
)

SOURCE = "meta_lead_forms"
FIELD = "leadgen"
"""The page's webhook field."""

_ID = re.compile(r"[0-9]{1,32}")
_SAMPLE = re.compile(r"4{6,}")
"""Ids in the sample that the App Dashboard's button Test posts."""
_DUMMY = "<test lead: dummy data"
"""What Meta's testing tool answers every question with."""
_DUMMY_EMAILS = frozenset({"test@fb.com", "test@meta.com"})

_NAME_CHARS = 512
_PHONES = ("phone_number", "work_phone_number", "whatsapp_number")
_EMAILS = ("email", "work_email")
_PHONE_WORDS = re.compile(r"phone|telefon|tel[eé]fono|celular|whats_?app|m[oó]vil")
_EMAIL_WORDS = re.compile(r"e-?_?mail|correo")


class FormNotices:
    """Reads values of changes of the field `leadgen`."""

    __slots__ = ("_keys", "_rows")

    def __init__(self, keys: Keys, rows: Rows) -> None:
        self._keys, self._rows = keys, rows

    def add(self, value: Any, _path: Path) -> None:
        """Add the row of one notice. Raises `Reject`."""
        if type(value) is not dict:
            raise Reject("notice_not_object: expected an object")
        leadgen_id, form_id, page_id = (
            _id_of(value, name) for name in ("leadgen_id", "form_id", "page_id")
        )
        created_us = moment(value.get("created_time"), self._rows.received_us)
        content = (
            leadgen_id,
            self._keys.web_lead(leadgen_id),
            form_id,
            page_id,
            # `adgroup_id` is the same ad by its name of years ago.
            _optional_id(value, "ad_id") or _optional_id(value, "adgroup_id"),
            self._rows.received_us if created_us is None else created_us,
            _SAMPLE.fullmatch(leadgen_id) is not None,
        )
        key = self._keys.content(orjson.dumps(content))
        self._rows.form_notices.append((*self._rows.place(), *content, key))


class LeadForms:
    """Reads envelopes of source `meta_lead_forms`."""

    __slots__ = ("_country", "_keys", "_rows")

    def __init__(self, keys: Keys, rows: Rows, default_country: str = DEFAULT_COUNTRY) -> None:
        self._keys, self._rows, self._country = keys, rows, default_country

    def read(self, body: bytes) -> None:
        """Add the rows of one body; raises `Reject` if it is not one of ours."""
        value = self._rows.load(body)
        if type(value) is not dict or "lead" not in value:
            raise Reject("lead_missing: expected an object with a lead")
        self._rows.take("web_lead", value, ("lead",), self._lead)

    def _lead(self, value: Any, _path: Path) -> None:
        lead, keys, rows = child(value, "lead"), self._keys, self._rows
        leadgen_id, form_id = _id_of(lead, "id"), _id_of(lead, "form_id")
        at_us = iso_moment(settled(lead, "created_time"), rows.received_us)
        answers = _answers(lead)
        is_test = settled(value, "is_test") is True or _is_dummy(leadgen_id, answers)
        phones = list(_found(answers, _PHONES, _PHONE_WORDS, self._phone))
        emails = list(_found(answers, _EMAILS, _EMAIL_WORDS, _email))
        phone_keys = [k for k in map(keys.claimed_phone, phones) if k is not None]
        email_keys = [k for k in map(keys.email, emails) if k is not None]
        web_lead = keys.web_lead(leadgen_id)
        is_organic = settled(lead, "is_organic")
        page = Page(
            ad_platform="meta",
            ad_id=_optional_id(lead, "ad_id"),
            adset_id=_optional_id(lead, "adset_id"),
            campaign_id=_optional_id(lead, "campaign_id"),
        )
        content = (
            keys.web_form(leadgen_id),
            web_lead,
            phone_keys[0] if phone_keys else None,
            email_keys[0] if email_keys else None,
            next((phone_country(p) for p in phones if keys.claimed_phone(p)), None),
            None,
            at_us,
            *page,
        )
        form = (
            leadgen_id,
            form_id,
            _optional_id(value, "page_id"),
            is_organic if type(is_organic) is bool else None,
            is_test,
        )
        key = keys.content(orjson.dumps((*content, *form)))
        rows.web_leads.append((*rows.place(), *content, key, *form))
        if is_test:
            return
        identities = [(k, "phone") for k in phone_keys] + [(k, "email") for k in email_keys]
        for identity, kind in dict.fromkeys(identities):
            rows.add_link(Link(web_lead, "web_lead", identity, kind, "web_lead"), at_us)

    def _phone(self, value: str) -> str | None:
        """The number's digits; None if it is no number."""
        try:
            return typed_phone(value, self._country)
        except PhoneError:
            return None


def _email(value: str) -> str | None:
    return value if "@" in value else None


def _found(
    answers: dict[str, list[str]],
    names: tuple[str, ...],
    words: re.Pattern[str],
    read: Callable[[str], str | None],
) -> Iterator[str]:
    """What `read` makes of the answers to Meta's own questions; else to those named by `words`."""
    own = [answers[name] for name in names if name in answers]
    others = [values for name, values in answers.items() if words.search(name)]
    for values in own or others:
        yield from filter(None, map(read, values))


def _answers(lead: dict[str, Any]) -> dict[str, list[str]]:
    """Names of questions in lower case, and all that was answered."""
    found: dict[str, list[str]] = {}
    for answer in children(lead, "field_data"):
        name = answer.get("name") if type(answer) is dict else None
        if type(name) is str and len(name) <= _NAME_CHARS:
            values = [v.strip() for v in children(answer, "values") if type(v) is str]
            found.setdefault(name.lower(), []).extend(v for v in values if 0 < len(v) <= 512)
    return found


def _is_dummy(leadgen_id: str, answers: dict[str, list[str]]) -> bool:
    values = [value.lower() for found in answers.values() for value in found]
    return (
        _SAMPLE.fullmatch(leadgen_id) is not None
        or any(value.startswith(_DUMMY) for value in values)
        or not _DUMMY_EMAILS.isdisjoint(values)
    )


def _id_of(holder: dict[str, Any], name: str) -> str:
    value = required(holder, name)
    if not _ID.fullmatch(value):
        raise Reject(f"{name}_not_digits: expected an id of Meta's")
    return value


def _optional_id(holder: dict[str, Any], name: str) -> str | None:
    value = text(holder, name)
    if value is not None and not _ID.fullmatch(value):
        raise Reject(f"{name}_not_digits: expected an id of Meta's")
    return value


__all__ = ["FIELD", "SOURCE", "FormNotices", "LeadForms"]
