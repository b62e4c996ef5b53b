"""E-mail addresses that people type to get past a required field: they are nobody's.

Taken as identities, `teste@teste.com` and `nao@tem.com` would make one person of everybody who
typed them. The rule looks for such words on both sides of the `@`, and is careful: whoever is
wrongly taken for filler is still known by phone and form, while strangers wrongly made one person
are wrong for good.
"""

from __future__ import annotations

import re

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


def is_filler(address: str) -> bool:
    """Whether many people who know nothing of each other type this address.

    >>> is_filler("teste@teste.com.br"), is_filler("a@gmail.com"), is_filler("ana@teste.com.br")
    (True, True, False)
    """
    local, _, domain = address.strip().casefold().rpartition("@")
    name = domain.partition(".")[0]
    return _is_filler(local.partition("+")[0]) and (domain in _MAILBOXES or _is_filler(name))


def _is_filler(word: str) -> bool:
    word = _SEPARATORS.sub("", word)
    return len(set(word)) == 1 or word in _WORDS


__all__ = ["is_filler"]
