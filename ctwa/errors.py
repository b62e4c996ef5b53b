"""Errors that people read: their one base class, and texts for failed connections."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator
from typing import ClassVar


class CtwaError(Exception):
    """A foreseen error. Its text is for people: what is wrong and how to fix it.

    It never holds a secret or a personal value. The command line prints it without a traceback.
    """

    exit_code: ClassVar[int] = 1
    """Exit code of the command that raises it: 1; 2 for a wrong argument; 75 (EX_TEMPFAIL of
    sysexits.h) if the same command will work later."""


class LockUnavailableError(CtwaError):
    """The database that holds the lock cannot be used: it is not known whether it is free."""


class LockLostError(CtwaError):
    """Another host has taken the lock since; nothing more of this run may count."""


class DataFolderError(CtwaError):
    """The data folder is incomplete: something is missing, or a copy has changed it."""


_UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN}
_BY_NAME = {
    "NameResolutionError": "name not found",
    "ProxyError": "the proxy refused",
    "ConnectTimeout": "no answer in time",
    "ConnectTimeoutError": "no answer in time",
    "ReadTimeout": "no answer in time",
    "ReadTimeoutError": "no answer in time",
    "RemoteDisconnected": "connection cut",
    "ProtocolError": "connection cut",
    "ChunkedEncodingError": "connection cut",
    "IncompleteRead": "connection cut",
    "SMTPServerDisconnected": "connection cut",
    "TooManyRedirects": "sent in a circle",
}
"""Errors of `requests`, `urllib3` and `smtplib`, by class name."""


def connection_failure(error: BaseException) -> str:
    """What went wrong with a connection: `connection refused`, `name not found` and the like.

    Taken from the innermost cause that is known, else the name of the error's class. Never the
    error's text, which may quote an address with a secret in it.
    """
    chain = list(_chain(error))
    for inner in reversed(chain):
        if isinstance(inner, socket.gaierror):
            return "name not found"
        if isinstance(inner, ssl.SSLCertVerificationError):
            return "its TLS certificate is not accepted"
        if isinstance(inner, ssl.SSLError):
            return "TLS failed"
        if isinstance(inner, ConnectionRefusedError):
            return "connection refused"
        if isinstance(inner, ConnectionResetError | BrokenPipeError | ConnectionAbortedError):
            return "connection cut"
        if isinstance(inner, TimeoutError):
            return "no answer in time"
        if isinstance(inner, OSError) and inner.errno in _UNREACHABLE:
            return "network unreachable"
    for inner in chain:
        if type(inner).__name__ in _BY_NAME:
            return _BY_NAME[type(inner).__name__]
    return type(error).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and its causes, which libraries also keep in `reason` and `args`."""
    ahead: list[object] = [error]
    visited: set[int] = set()
    while ahead:
        current = ahead.pop(0)
        if not isinstance(current, BaseException) or id(current) in visited:
            continue
        visited.add(id(current))
        yield current
        ahead += [current.__cause__, current.__context__, getattr(current, "reason", None)]
        ahead += list(current.args)
