"""Which column of a file holds which field: by an English, Portuguese or Spanish header, or
`--map`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from ingestion.files import TableError

_NAMES: dict[str, str] = {
    "event_id": "id do evento, id evento, id del evento, evento id",
    "stage": "etapa, fase, status, situacao, situacion, estagio, estado, deal stage, "
    "pipeline stage, lifecycle stage, funnel stage, etapa do negocio, etapa del negocio, "
    "etapa do funil, etapa del embudo, estagio do negocio, fase do negocio, estatus",
    "occurred_at": "date, data, fecha, datetime, date time, data e hora, data hora, fecha y hora, "
    "fecha hora, when, quando, cuando, timestamp, event date, data do evento, fecha del evento, "
    "data da venda, fecha de venta, fecha de la venta, sale date, close date, closed date, "
    "closed at, won time, won at, won date, deal won time, ganho em, data de ganho, "
    "fecha de ganado, data de fechamento, data do fechamento, fecha de cierre, occurred on",
    "phone": "telefone, telefono, celular, movil, mobile, phone number, mobile phone, "
    "mobile number, cell phone, cellphone, cell, fone, tel, whatsapp, whatsapp number, "
    "numero de telefone, numero de telefono, numero de whatsapp, numero do whatsapp, "
    "person phone, contact phone, telefone do contato, telefono de contacto, "
    "telefono del contacto, telefone celular, telefono celular, telefono movil, numero, telephone",
    "wa_id": "whatsapp id, id do whatsapp, id de whatsapp",
    "user_id": "bsuid, whatsapp user id",
    "email": "e mail, mail, email address, e mail address, correo, correo electronico, "
    "person email, contact email, email do contato, email de contacto, email del contacto, "
    "endereco de email, endereco de e mail, direccion de correo, e mail do contato",
    "lead_id": "id do lead, id del lead",
    "message_id": "id da mensagem, id del mensaje",
    "value": "valor, amount, monto, importe, preco, precio, price, revenue, receita, "
    "ingreso, ingresos, deal value, deal amount, valor do negocio, valor del negocio, "
    "valor da venda, valor de la venta, valor total, total value, montante",
    "currency": "deal currency, moeda, moneda, divisa, "
    "currency code, codigo da moeda, codigo de moneda",
    "source": "",
    "business_number": "numero da empresa, numero de la empresa, business phone",
    "reason": "motivo, razao, razon",
    "given": "consent, consentimento, consentimiento, opt in, optin, aceita, acepta, "
    "consent given, marketing consent",
    "declared_at": "date, data, fecha, datetime, date time, data e hora, data hora, "
    "fecha y hora, fecha hora, when, quando, cuando, timestamp",
    "consent_id": "",
}
_BRACKETS = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")
_NOT_WORD = re.compile(r"[\W_]+")


def plain(header: str) -> str:
    """A header without accents, case, punctuation and extra blanks."""
    letters = unicodedata.normalize("NFKD", header).casefold()
    kept = "".join(c for c in letters if not unicodedata.combining(c))
    return _NOT_WORD.sub(" ", kept).strip()


def known(headers: Iterable[str], fields: Sequence[str], mapping: Mapping[str, str]) -> int:
    """How many of these headers are known, or named by `--map`."""
    wanted = {plain(header) for header in mapping}
    return sum(bool(h) and (plain(h) in wanted or bool(_fields_of(h, fields))) for h in headers)


def in_brackets(header: str) -> list[str]:
    """The texts in brackets in a header, such as the currency of `Valor (R$)`."""
    return [found.strip("()[] ") for found in _BRACKETS.findall(header)]


def _fields_of(header: str, fields: Sequence[str]) -> list[str]:
    names = {plain(header), plain(_BRACKETS.sub(" ", header))} - {""}
    return [f for f in fields if names & {f.replace("_", " "), *_NAMES[f].split(", ")}]


def columns_of(
    file: str, headers: Sequence[str], fields: Sequence[str], mapping: Mapping[str, str]
) -> dict[str, int]:
    """Field to the position of its column. `mapping`: header to field, from `--map`.

    A column named by `--map` takes precedence over one with the field's own name, and that one over
    a synonym. Raises `TableError` if two columns are equally good, or `--map` names a column that
    is missing.
    """
    places: dict[str, list[tuple[int, int]]] = {}
    chosen = {plain(header): field for header, field in mapping.items()}
    for header, field in mapping.items():
        if field not in fields:
            raise TableError(
                f"--map {header}={field}: there is no field {field}; fields are {_list(fields)}"
            )
        if plain(header) not in map(plain, headers):
            there, _ = shown(headers)
            raise TableError(f"--map {header}={field}: {file} has no such column; it has {there}")
    for place, header in enumerate(headers):
        if mapped_field := chosen.get(plain(header)):
            places.setdefault(mapped_field, []).append((0, place))
            continue
        for field in _fields_of(header, fields):
            own = plain(header) == field.replace("_", " ")
            places.setdefault(field, []).append((1 if own else 2, place))
    found = {}
    for field, candidates in places.items():
        best = min(candidates)
        equals = [headers[place] for rank, place in candidates if rank == best[0]]
        if len(equals) > 1 and len(set(map(plain, equals))) == 1:
            raise TableError(
                f"{file}: {len(equals)} columns are called {equals[0]}: rename those that are not "
                f"{field}"
            )
        if len(equals) > 1:
            raise TableError(
                f"{file}: columns {_list(equals)} can both be {field}: say which with "
                f'--map "{equals[0]}={field}"'
            )
        found[field] = best[1]
    return found


def shown(headers: Sequence[str]) -> tuple[str, bool]:
    """The header for people, and whether it is a header: a first row of data, which may name a
    person, is not shown."""
    if any("@" in h or sum(map(str.isdigit, h)) >= 5 or len(h) > 60 for h in headers):
        return "no names of columns in its first row", False
    return _list(filter(None, headers)) or "nothing", True


def _list(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def parse_map(entries: Iterable[str]) -> dict[str, str]:
    """`--map column=name` as header to field. Raises `TableError`."""
    found = {}
    for entry in entries:
        header, sign, field = entry.rpartition("=")
        if not (sign and header.strip() and field.strip()):
            raise TableError('--map expects column=name, e.g. --map "Etapa do funil=stage"')
        found[header.strip()] = field.strip().lower()
    return found


__all__ = ["columns_of", "in_brackets", "known", "parse_map", "plain", "shown"]
