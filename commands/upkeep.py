"""Commands for maintenance: doctor, backup and restore, the vault, forget."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from commands.console import UsageError, out, show_findings, warn, working
from ctwa.settings import SettingsError, load_settings


def doctor(
    receiver: Annotated[
        str, typer.Option(help="Address of the receiver. Default: CTWA_RECEIVER_URL.")
    ] = "",
    fix: Annotated[
        bool,
        typer.Option(
            "--fix",
            help="Create the contact properties that HubSpot lacks; with --deep, restore damaged "
            "files of the lake from a backup.",
        ),
    ] = False,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep",
            help="Compare every file of the lake, and every body in the vault, with its checksum.",
        ),
    ] = False,
) -> None:
    """Check settings, tokens, accounts, disk and receiver; each ✗ says how to fix it.

    Exit code 1 on any ✗. Example: `ctwa doctor --receiver http://127.0.0.1:9000`
    """
    from commands.doctor import examine
    from ingestion.source import wrong

    try:
        settings = load_settings()
        with working("asking every service", "ctwa.doctor"):
            findings = examine(settings, receiver_url=receiver.rstrip("/"), fix=fix, deep=deep)
    except SettingsError as error:
        lines = (line.partition(": ") for line in str(error).splitlines())
        findings = [wrong(name, text, "correct it in .env") for name, _, text in lines]
    show_findings(findings)
    if any(finding.status == "wrong" for finding in findings):
        raise typer.Exit(1)


def backup(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder for backups. Default: CTWA_BACKUP_DIR.")
    ] = None,
) -> None:
    """Copy vault, lake, ledgers and key, and verify the copy, while the receiver keeps running.

    Example: `ctwa backup /mnt/backup/ctwa`
    """
    from keeping.backup import backup as run_backup

    with working("copying vault, lake, ledgers and key", "ctwa.backup"):
        made = run_backup(load_settings(), folder)
    out.print(f"{made.path}: {made.files} files, {made.size:,} bytes, verified")


def restore(
    folder: Annotated[Path, typer.Argument(help="A backup, or a folder of backups.", exists=True)],
) -> None:
    """Put a backup back into an empty data directory; then run `ctwa refresh --full`.

    Example: `ctwa restore /mnt/backup/ctwa`
    """
    from keeping.backup import restore as run_restore

    with working("checking the backup and putting it back", "ctwa.restore"):
        restored = run_restore(load_settings(), folder)
    out.print(f"restored {restored.path}: {restored.files} files; now `ctwa refresh --full`")


def upgrade(
    check: Annotated[
        bool, typer.Option("--check", help="Say what the next refresh will do, and change nothing.")
    ] = False,
) -> None:
    """Show what an update of the program does to this installation: formats, rebuild, marts.

    An upgrade needs no other step than the next `ctwa refresh`. Exit code 1 if this version is
    older than the data. Example: `ctwa upgrade --check`
    """
    if not check:
        raise UsageError(
            "there is nothing to do by hand: install the new version, look with "
            "`ctwa upgrade --check`, then run `ctwa refresh`"
        )
    settings = load_settings()
    with working("comparing", "ctwa.upgrade"):
        from orchestration.upgrade import upgrade_check

        findings = upgrade_check(settings)
    show_findings(findings)
    if any(finding.status == "wrong" for finding in findings):
        raise typer.Exit(1)


def adopt_vault() -> None:
    """Continue with the present lake and a vault that is new, or older than the lake.

    For a vault that was lost, or restored from an older backup: the envelopes received since then
    are renumbered to follow those of the lake, and the next refresh lands them. Example:
    `ctwa adopt-vault`
    """
    from ingestion.event_log.adoption import adopt_vault as run_adopt

    done = run_adopt(load_settings())
    out.print(
        f"the lake holds envelopes up to {done.lake}, the vault has the first {done.common} of "
        f"them; {done.moved} envelopes were renumbered to follow the lake's: now `ctwa refresh`"
    )


def mend_vault() -> None:
    """Replace a damaged vault with a new one that holds everything that can still be read.

    The receiver may keep running. The damaged file stays beside the new one: delete it once you no
    longer need it. Example: `ctwa mend-vault`
    """
    from ctwa.lock import refresh_lock
    from ingestion.vault import open_vault
    from ingestion.vault.repair import NOTHING_READABLE, repair
    from ingestion.vault.vault import VaultDamagedError

    settings = load_settings()
    with refresh_lock(settings):
        try:
            vault = open_vault(settings.vault_url)
        except VaultDamagedError:
            raise VaultDamagedError(NOTHING_READABLE) from None
        try:
            kept, lost, aside = repair(vault)
        finally:
            vault.close()
    out.print(f"{kept:,} envelopes are in the new vault, {lost:,} could not be read")
    out.print(
        f"{aside} is the damaged file, with personal data: delete it once you no longer need it"
    )
    out.print("now `ctwa refresh`")


def forget(
    phone: Annotated[str | None, typer.Option(help="A phone number, in any spelling.")] = None,
    bsuid: Annotated[
        str | None, typer.Option(help="A WhatsApp user id (BSUID), or messenger:PAGE:USER.")
    ] = None,
    email: Annotated[str | None, typer.Option(help="An e-mail address.")] = None,
    before: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            help="With --phone: erase not the present holder but the one before that day.",
        ),
    ] = None,
    again: Annotated[
        bool,
        typer.Option("--again", help="Repeat every erasure, after a restore by other tools."),
    ] = False,
) -> None:
    """Erase one person everywhere; their leads and conversations stay counted, without the person.

    Also erases every identity that messages or outcomes connect with the given one. If the number
    has had several holders, only one of them is erased. Example:
    `ctwa forget --phone "+55 11 98765-4321"`
    """
    with working("looking for the person", "ctwa.forget"):
        from orchestration.forget import forget as run_forget

        result = run_forget(
            load_settings(),
            phone=phone,
            bsuid=bsuid,
            email=email,
            before=before and before.date(),
            again=again,
        )
    out.print(result.text())
    warn(*result.warnings())
    if result.failures:
        raise typer.Exit(1)
