"""Keyed hashes in place of personal values (rule R4, privacy goals), and their key.

A plain hash of a phone number can be reversed by trying all numbers; a keyed one cannot. Message
ids are hashed too, because they contain the phone number in base64. Hashes are 128 bits of
HMAC-SHA256 as 32 hex digits; the kind is part of the input, so that equal texts of two kinds never
get the same hash.

The key is `CTWA_PII_KEY`, or `<data>/pii.key`, made once and never replaced: rows made with one key
cannot be linked to rows made with another, and every person would be a new one. So no key is made
where the lake already holds rows, and a file that holds no key is never used as one.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from pathlib import Path

from ctwa import number_plans
from ctwa.errors import DataFolderError
from ctwa.files import create_durably, keep_private
from ctwa.lock import database_of
from ctwa.setting_types import KEY_BYTES, key_bytes
from ctwa.settings import Settings

_NOT_DIGIT = re.compile(r"\D+")


def phone_match_key(phone: str) -> str | None:
    """The digits by which a number is recognised in all its spellings, or None.

    Drops Brazil's ninth digit, Mexico's 1 after 52 and Argentina's 9 after 54, and rewrites a
    number from before a change of its numbering plan (`ctwa.number_plans`). Expects a full
    international number and never shortens it to a suffix. A Brazilian mobile number that goes on
    with 2-5 after its 9 keeps the 9: without it, it would be somebody's landline, and WhatsApp
    shows such recent numbers in full.

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
    return number_plans.current(digits)


class Pseudonymizer:
    """Keyed hashes of normalised personal values. The same key always gives the same hash."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        if len(key) < KEY_BYTES:
            raise ValueError("CTWA_PII_KEY is too short: give at least 32 hex digits (16 bytes)")
        # HMAC (RFC 2104) with the key's two blocks hashed once: `hmac.digest` hashes them again on
        # each call, which takes more than twice as long for such short texts.
        block = (hashlib.sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    @classmethod
    def from_settings(cls, settings: Settings) -> Pseudonymizer:
        """With the installation's key (`key_of`), which is created on first use.

        Raises `DataFolderError` if the key is missing or damaged and rows were made with it.
        """
        return cls(key_of(settings))

    def digest(self, kind: str, value: str) -> str:
        """32 hex digits; `surrogatepass` because hostile text may hold lone surrogates."""
        text = f"{kind}:{value}"
        # Nearly always ASCII, and then this is the fastest way to its bytes.
        return self.digest_bytes(
            text.encode() if text.isascii() else text.encode("utf-8", "surrogatepass")
        )

    def digest_bytes(self, message: bytes) -> str:
        """`digest` of a message that is already bytes: its kind, a colon and the value."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.hexdigest()[:32]

    def phone(self, phone: str) -> str | None:
        """Identity key of a phone number in any spelling, or None if it is not one."""
        match_key = phone_match_key(phone)
        return None if match_key is None else self.digest("phone", match_key)

    def phones(self, phone: str) -> tuple[str | None, list[str]]:
        """`phone`, and keys of the number as it was written before its numbering plan changed: the
        event log may have them from a version that did not know the plan."""
        match_key = phone_match_key(phone)
        if match_key is None:
            return None, []
        older = [self.digest("phone", spelling) for spelling in number_plans.older(match_key)]
        return self.digest("phone", match_key), older

    def older_phones(self, phone: str) -> list[str]:
        """The keys of older spellings that `phones` returns."""
        return self.phones(phone)[1]

    def bsuid(self, bsuid: str) -> str | None:
        """Identity key of a business-scoped user id; case matters in its second half only."""
        head, dot, tail = bsuid.strip().partition(".")
        value = f"{head.upper()}{dot}{tail}"
        return self.digest("bsuid", value) if value else None

    def email(self, email: str) -> str | None:
        """Identity key of an e-mail address; None if the text is not one, or is filler."""
        value = email.strip().casefold()
        is_address = "@" in value[1:-1] and not is_filler_email(value)
        return self.digest("email", value) if is_address else None

    def web_lead(self, lead_id: str) -> str:
        """Identity key of a web form's lead id."""
        return self.digest("web_lead", lead_id.strip())

    def web_form(self, lead_id: str) -> str:
        """Key of one submission of a web form, as opposed to the person who sent it."""
        return self.digest("web_form", lead_id.strip())

    def crm_record(self, system: str, record: str) -> str:
        """Identity key of a CRM's record of a person, e.g. `hubspot` and `contact:8812`."""
        return self.digest("crm_record", f"{system}|{record}")

    def scoped_id(self, app: str, scope: str, user_id: str) -> str:
        """Identity key of a Messenger or Instagram user; ids are valid on one page only."""
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


# ---- the key ----------------------------------------------------------------------------------

KEY_FILE = "pii.key"
"""In the data folder, mode 0600."""

KEY_NOTE = "key"
"""Name of the hash of the key among what is noted for all hosts."""

_HASHED = ("event_log", "hubspot")
"""Datasets of the lake that contain keyed hashes."""
_SCHEMA_FILE = "0.schema.parquet"
"""Every table of the lake has one, with its columns and no rows."""


def key_of(settings: Settings) -> bytes:
    """The installation's key; created on first use.

    Raises `DataFolderError` if the key is missing or damaged and rows were made with it.
    """
    if settings.pii_key is not None:
        return key_bytes(settings.pii_key.get_secret_value())
    path = settings.data_dir / KEY_FILE
    if not path.exists():
        check_no_key_is_lost(settings)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Two processes that start at once agree on one whole key.
        create_durably(path, secrets.token_hex(32), mode=0o600)
    keep_private(path)
    return key_bytes(read_key(path))


def read_key(path: Path) -> str:
    """The text of a file `pii.key`. Raises `DataFolderError` if it holds no key."""
    try:
        text = path.read_text(encoding="utf-8-sig").strip()  # as an editor may have saved it
    except (OSError, UnicodeDecodeError):
        text = ""
    if len(text) < 16 or "/" in text or "\n" in text:
        found = "the path of a link instead of a key" if "/" in text else "no complete key"
        raise DataFolderError(
            f"{path} holds {found}: put the key back from a backup. With a new key, new rows could "
            "not be linked to old ones"
        )
    return text


def check_no_key_is_lost(settings: Settings) -> None:
    """Raise `DataFolderError` if rows were made with a key that is no longer here."""
    if lake_has_hashes(settings):
        raise DataFolderError(
            f"{settings.data_dir / KEY_FILE} is missing, and the lake holds rows made with it: put "
            "it back from a backup, or set CTWA_PII_KEY as before. With a new key, every person "
            "would count as a new one"
        )


def check_key_of_all_hosts(settings: Settings) -> None:
    """Raise `DataFolderError` if another host works on the same vault with another key.

    Where the vault is PostgreSQL its database notes a hash under the key that was used first. No
    key is made here: with a new one every person would count, and be told of, a second time.
    """
    if not (url := database_of(settings)):
        return
    from ctwa.lease import mark, mark_once

    has_key = settings.pii_key is not None or (settings.data_dir / KEY_FILE).exists()
    own = Pseudonymizer.from_settings(settings).digest("host", "key") if has_key else None
    noted = mark_once(url, KEY_NOTE, own) if own else mark(url, KEY_NOTE)
    if noted != own:
        raise DataFolderError(
            "another host has worked on this vault with another key of the hashes than this one "
            f"{'has' if own else 'would make'}: copy its pii.key to {settings.data_dir / KEY_FILE} "
            "(mode 0600), or set the same CTWA_PII_KEY on every host. If it is lost with all it "
            "has made, `ctwa adopt-vault` begins anew with another one"
        )


def lake_has_hashes(settings: Settings) -> bool:
    """Whether rows were made with a key. Raises `DataFolderError` if the lake cannot be read."""
    import fsspec  # slow to import, and not needed where there is a key

    if (settings.data_dir / "erasures.json").exists():
        return True
    try:
        files, root = fsspec.core.url_to_fs(settings.lake_url)
        return any(
            not name.endswith(_SCHEMA_FILE)
            for dataset in _HASHED
            for name in files.glob(f"{root}/{dataset}/[a-z]*/*.parquet")
        )
    except Exception as error:  # noqa: BLE001 - a bucket fails in many ways
        raise DataFolderError(
            f"the lake {settings.lake_url} cannot be read ({type(error).__name__}): check "
            "CTWA_LAKE_URL and its credentials. Until then no pii.key is created"
        ) from None


# ---- e-mail addresses that identify no one ----------------------------------------------------

_WORDS = frozenset((
    "123", "1234", "12345", "123456", "abc", "abcd", "asd", "asdf", "asdfg", "qwe", "qwer",
    "qwerty", "xyz", "test", "teste", "testes", "tester", "testing", "teste1", "test1",
    "teste123", "test123", "prueba", "pruebas", "email", "mail", "emails", "correo", "contato",
    "contacto", "semail", "seuemail", "meuemail", "youremail", "myemail", "example", "exemplo",
    "ejemplo", "sample", "demo", "fake", "falso", "dummy", "nao", "não", "no", "none", "null",
    "na", "nada", "nenhum", "ninguem", "nobody", "noone", "sem", "tem", "tenho", "possui",
    "possuo", "uso", "quero", "naotem", "naotenho", "naopossui", "naosei", "naouso", "naoquero",
    "nãotem", "nãotenho", "sememail", "noemail", "notengo", "notiene", "anonimo", "anonymous",
    "user", "usuario", "usuário", "cliente", "nome", "name", "teuemail",
))  # fmt: skip
_MAILBOXES = frozenset((
    "gmail.com", "hotmail.com", "hotmail.com.br", "outlook.com", "outlook.com.br", "live.com",
    "yahoo.com", "yahoo.com.br", "icloud.com", "uol.com.br", "bol.com.br", "terra.com.br",
))  # fmt: skip
_SEPARATORS = re.compile(r"[._\-]+")


def is_filler_email(address: str) -> bool:
    """Whether this is an address that many people type to get past a required field.

    As identities, `teste@teste.com` and `nao@tem.com` would join everyone who typed them into one
    person. Looks for such words on both sides of the `@`, and is careful: a person whose address is
    wrongly taken for filler is still known by phone and form, while strangers who were wrongly
    joined stay joined.

    >>> is_filler_email("teste@teste.com.br"), is_filler_email("ana@teste.com.br")
    (True, False)
    """
    local, _, domain = address.strip().casefold().rpartition("@")
    name = domain.partition(".")[0]
    is_everyones = domain in _MAILBOXES or _is_filler_word(name)
    return is_everyones and _is_filler_word(local.partition("+")[0])


def _is_filler_word(word: str) -> bool:
    word = _SEPARATORS.sub("", word)
    return len(set(word)) == 1 or word in _WORDS
