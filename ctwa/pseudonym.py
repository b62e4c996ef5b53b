"""Keyed hashes in place of personal values (rule R4, privacy goals).

A plain hash of a phone number is reversed by trying all numbers; a keyed one is not. Message ids
are hashed too: they hold the phone number in base64. 128 bits of HMAC-SHA256, as 32 hex digits,
with the kind in front so that equal texts of two kinds never meet.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from pathlib import Path

from ctwa.emails import is_filler
from ctwa.settings import Settings

KEY_VERSION = 1
_NOT_DIGIT = re.compile(r"\D+")


def phone_match_key(phone: str) -> str | None:
    """Digits by which one person's number is recognised in all its spellings, or None.

    Drops Brazil's ninth digit, Mexico's 1 after 52 and Argentina's 9 after 54. Expects a full
    international number; never shortens to a suffix. A Brazilian mobile number whose rest starts
    with 2-5 keeps its 9: without it, it would be somebody's landline, and WhatsApp shows such
    young numbers in full.

    >>> phone_match_key("+55 (11) 98765-4321") == phone_match_key("551187654321")
    True
    """
    digits = _NOT_DIGIT.sub("", phone)
    if digits.startswith("00"):
        digits = digits[2:]
    if not 7 <= len(digits) <= 15:
        return None
    if len(digits) == 13:
        if digits.startswith("55") and digits[4] == "9" and digits[5] not in "2345":
            return digits[:4] + digits[5:]
        if digits.startswith("521"):
            return "52" + digits[3:]
        if digits.startswith("549"):
            return "54" + digits[3:]
    return digits


class Pseudonymizer:
    """Keyed hashes of normalised personal values. Pure: the same key gives the same hash."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise ValueError("CTWA_PII_KEY is too short: give at least 32 hex digits (16 bytes)")
        # HMAC (RFC 2104) with the key's two blocks hashed once: `hmac.digest` hashes them again
        # at each call and takes more than twice as long for such short texts.
        block = (hashlib.sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    @classmethod
    def from_settings(cls, settings: Settings) -> Pseudonymizer:
        """Use `CTWA_PII_KEY`, else the key in the data directory, made once with mode 0600."""
        if settings.pii_key is not None:
            return cls(_decode(settings.pii_key.get_secret_value()))
        return cls(_key_file(settings.data_dir / "pii.key"))

    def digest(self, kind: str, value: str) -> str:
        """32 hex digits; `surrogatepass` because hostile text may hold lone surrogates."""
        return self.digest_bytes(f"{kind}:{value}".encode("utf-8", "surrogatepass"))

    def digest_bytes(self, message: bytes) -> str:
        """`digest` of a message that is bytes already: its kind, a colon and the value."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.hexdigest()[:32]

    def phone(self, phone: str) -> str | None:
        """Identity key of a phone number in any spelling, or None where it is not one."""
        match_key = phone_match_key(phone)
        return None if match_key is None else self.digest("phone", match_key)

    def bsuid(self, bsuid: str) -> str | None:
        """Identity key of a business-scoped user id; case counts in its second half only."""
        head, dot, tail = bsuid.strip().partition(".")
        value = f"{head.upper()}{dot}{tail}"
        return self.digest("bsuid", value) if value else None

    def email(self, email: str) -> str | None:
        """Identity key of an e-mail address; None where there is none in the text, or nobody's."""
        value = email.strip().casefold()
        is_address = "@" in value[1:-1] and not is_filler(value)
        return self.digest("email", value) if is_address else None

    def web_lead(self, lead_id: str) -> str:
        """Identity key of a web form's lead id."""
        return self.digest("web_lead", lead_id.strip())

    def web_form(self, lead_id: str) -> str:
        """Key of the submission of a web form: never that of the person who sent it."""
        return self.digest("web_form", lead_id.strip())

    def crm_record(self, system: str, record: str) -> str:
        """Identity key of a CRM's record of a person, e.g. `hubspot` and `contact:8812`."""
        return self.digest("crm_record", f"{system}|{record}")

    def scoped_id(self, app: str, scope: str, user_id: str) -> str:
        """Identity key of somebody on Messenger or Instagram: ids hold within one page only."""
        return self.digest("scoped_id", f"{app}|{scope}|{user_id}")

    def link_code(self, code: str) -> str:
        """Key of a coded link's code, as `ctwa.link_code` writes it."""
        return self.digest("link_code", code)

    def message_id(self, message_id: str) -> str:
        """Key of a provider message id, whatever the number it was sent to."""
        return self.digest("message_id", message_id)

    def message(self, business_number_id: str, message_id: str) -> str:
        """Key of a message: (business number, provider message id), rule R2."""
        return self.digest("message", f"{business_number_id}|{message_id}")


def _decode(text: str) -> bytes:
    text = text.strip()
    try:
        return bytes.fromhex(text)
    except ValueError:
        return text.encode()


def _key_file(path: Path) -> bytes:
    """The key of this installation. Losing it makes new rows unlinkable to old ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        # Written beside and linked, so that two first starts agree on one whole key.
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(secrets.token_hex(32))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return _decode(path.read_text())
