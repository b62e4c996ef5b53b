"""Names of processes that are never used twice, unlike a pid."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def worker_id(pid: int | None = None) -> str:
    """`host:boot:pid:start` of a process."""
    pid = os.getpid() if pid is None else pid
    return f"{socket.gethostname()}:{boot_id()}:{pid}:{process_start(pid)}"


def boot_id() -> str:
    """Identifies this start of the machine or container; empty if unknown."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def pid_space() -> str:
    """Identifies what pids count in: two containers of one machine both have a process 1."""
    try:
        return str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]")
    except OSError:
        return ""


def process_start(pid: int) -> str:
    """When a process started, in kernel ticks; empty if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    # The name, in parentheses, may itself contain blanks and parentheses.
    return text.rpartition(")")[2].split()[19]
