"""Commands that run the product and show results: demo, serve, refresh, live, dev, bench,
diff-rules, report.

Modules are imported inside the commands: `ctwa serve` must not load Dagster.
"""

from __future__ import annotations

import errno
import os
import socket
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from commands.console import UsageError, err, out, warn, working
from ctwa.environment import usable_settings
from ctwa.errors import CtwaError
from ctwa.setting_types import PORTS
from ctwa.settings import Settings, SettingsError, load_settings


def demo(
    seed: Annotated[int, typer.Option(help="Another seed makes another company.")] = 7,
    leads: Annotated[int, typer.Option(help="About how many leads.", min=20)] = 400,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="Wiped first; kept afterwards for you to look at. Default: data/demo, with "
            "--nasty data/demo-nasty."
        ),
    ] = None,
    nasty: Annotated[
        bool,
        typer.Option(
            "--nasty",
            help="The company of the tests: every edge case, and names that break spreadsheets "
            "and pages.",
        ),
    ] = False,
    language: Annotated[
        str | None,
        typer.Option(
            help="Of the company's names and chats: pt-BR, es or en. Default: as this account's."
        ),
    ] = None,
    serve_on: Annotated[
        bool,
        typer.Option(
            "--serve", help="Go on afterwards: UI with every source on, new messages arriving."
        ),
    ] = False,
    port: Annotated[int, typer.Option(help="With --serve: port of the receiver.")] = 8080,
    ui_port: Annotated[int, typer.Option(help="With --serve: port of the Dagster UI.")] = 3000,
    ui_host: Annotated[
        str,
        typer.Option(help="With --serve: address of the Dagster UI. In a container 0.0.0.0."),
    ] = "127.0.0.1",
) -> None:
    """Run the whole product on a synthetic company and check the marts against its truth.

    Example: `ctwa demo --serve`
    """
    if serve_on:  # before the minutes that it takes
        check_address("127.0.0.1", port)
        check_address(ui_host, ui_port, "--ui-port")
    with working("making the company", "ctwa.demo"):
        from simulator.demo import demo as run_demo
        from simulator.names import HOSTILE, LANGUAGES, Names, language_of
        from simulator.serving import Serve

    if language is not None and language not in LANGUAGES:
        raise UsageError(f"--language {language}: there are {', '.join(LANGUAGES)}")
    names = HOSTILE if nasty else Names.of(language_of(language, os.environ))
    where = Serve(port, ui_port, ui_host) if serve_on else None
    raise typer.Exit(run_demo(data_dir, seed=seed, leads=leads, serve=where, names=names))


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8080,
) -> None:
    """Receive and store signed webhooks. Put a TLS proxy in front (see deploy/).

    Example: `ctwa serve --host 0.0.0.0 --port 8080`
    """
    check_address(host, port)
    from ingestion.webhook.server import serve as run_server

    run_server(load_settings(), host, port)


def refresh(
    full: Annotated[
        bool, typer.Option("--full", help="Rebuild every model from the event log.")
    ] = False,
    reparse: Annotated[
        bool,
        typer.Option(
            "--reparse", help="Parse again every body still in the vault; implies --full."
        ),
    ] = False,
    as_of: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Last day of the marts. Default: today."),
    ] = None,
) -> None:
    """Run the nightly job once, without a UI. Exits with 75 if another refresh is running.

    Example: `ctwa refresh --full`
    """
    settings = _nightly_settings()
    with working("preparing", "ctwa.refresh"):
        from orchestration.refresh import refresh as run_refresh

        result = run_refresh(
            settings, full=full or reparse, reparse=reparse, as_of=as_of.date() if as_of else None
        )
    for failure in result.failures:
        err.print(f"✗ {failure}", style="red", markup=False)
    if not result.ok:
        warn(*result.summary())
        raise typer.Exit(1)


def live() -> None:
    """Bring new messages into the marts, the CRM and Meta within seconds, until stopped.

    Runs beside the nightly refresh, never at the same moment. Exits with 75 if another one runs.
    Example: `ctwa live`
    """
    from orchestration.live import live as run_live

    raise typer.Exit(run_live(load_settings()))


def _nightly_settings() -> Settings:
    """The settings; if they are wrong, an alert is sent as well: nobody reads cron's output."""
    try:
        return load_settings()
    except SettingsError as error:
        known = usable_settings()
        if known is not None and known.alerts_are_on:
            from orchestration.alerts import RunEnd, send_alerts
            from orchestration.keys import NIGHTLY

            send_alerts(known, RunEnd(NIGHTLY, failures=[str(error)], published=False))
        raise


def dev(
    host: Annotated[
        str, typer.Option(help="Address of the receiver; the UI stays on this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the receiver.")] = 8080,
    ui_host: Annotated[
        str,
        typer.Option(
            help="Address of the UI. It has no login: anyone who can reach it can do anything."
        ),
    ] = "127.0.0.1",
    ui_port: Annotated[int, typer.Option(help="Port of the Dagster UI.")] = 3000,
    data_dir: Annotated[
        Path | None, typer.Option(help="Another data directory, e.g. data/demo.")
    ] = None,
    with_live: Annotated[
        bool,
        typer.Option(
            "--live/--no-live",
            help="Run `ctwa live`, too. Without it, new messages take minutes, by the sensor.",
        ),
    ] = True,
) -> None:
    """Run Dagster UI, daemon, receiver and `ctwa live` together, for a workstation.

    Example: `ctwa dev --data-dir data/demo`
    """
    settings = load_settings(data_dir=data_dir) if data_dir else load_settings()
    check_address(host, port)
    check_address(ui_host, ui_port, "--ui-port")
    from orchestration.instance import dev as run_dev

    raise typer.Exit(
        run_dev(
            settings, host=host, port=port, ui_host=ui_host, ui_port=ui_port, with_live=with_live
        )
    )


def bench(
    parts: Annotated[
        list[str] | None,
        typer.Argument(
            help="Some of receiver, landing, marts, nightly, idle, spend, dev, latency; default "
            "all. Or engines, which needs Spark."
        ),
    ] = None,
    envelopes: Annotated[
        int, typer.Option(help="Envelopes of the largest history; the limits are for the default.")
    ] = 1_000_000,
    seconds: Annotated[
        float, typer.Option(help="How long `dev` and `latency` post at each of its rates.")
    ] = 120.0,
    deep: Annotated[
        bool, typer.Option("--deep", help="`nightly` also on ten times as many envelopes.")
    ] = False,
    page: Annotated[
        Path | None,
        typer.Option(help="A Markdown file with marks for the tables, e.g. docs/performance.md."),
    ] = None,
) -> None:
    """Measure the product on this machine: each figure with its limit, where one was set.

    Example: `ctwa bench landing marts --envelopes 100000`
    """
    from benchmarks.run import Sizes
    from benchmarks.run import run as run_bench

    sizes = Sizes(envelopes=envelopes, deep=deep, seconds=seconds)
    with working("measuring", "ctwa.bench"):
        code = run_bench(parts or (), sizes, page)
    raise typer.Exit(code)


# ---- addresses ---------------------------------------------------------------------------------

_REFUSALS = {
    errno.EADDRNOTAVAIL: "is not an address of this machine; 127.0.0.1 and 0.0.0.0 always are",
    errno.EACCES: "is not open to this account: ports below 1024 belong to the system",
}


class AddressError(CtwaError):
    """Nothing can listen there. The text is one line that says why."""


def check_address(host: str, port: int, option: str = "--port") -> None:
    """Raise `AddressError` if nothing can listen on `host` and `port` now.

    `option`: the option that sets the port. Port 0 means any free port.
    """
    if port not in PORTS:
        raise AddressError(f"{option} {port}: ports range from 1 to {PORTS.stop - 1}")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise AddressError(
            f"--host {host}: there is no such name or address; 127.0.0.1 is this machine only, "
            "0.0.0.0 all its networks"
        ) from None
    refusals = []
    for family, kind, protocol, _, address in found:
        try:
            probe = socket.socket(family, kind, protocol)
        except OSError:  # IPv6 is off on this machine
            continue
        with closing(probe):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                probe.bind(address)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise AddressError(
                        f"{host}:{port} is used by another program: stop it, or choose another "
                        f"port with {option}"
                    ) from None
                reason = _REFUSALS.get(error.errno or 0, f"cannot be listened on: {error.strerror}")
                refusals.append(f"{host}:{port} {reason}")
    # A name may stand for several addresses: one of them is enough.
    if refusals and len(refusals) == len(found):
        raise AddressError(refusals[0])


def dbt(context: typer.Context) -> None:
    """Run dbt by hand on the warehouse, with the settings, while no refresh runs.

    Everything after `dbt` goes to dbt. The next refresh looks at all models again. Example:
    `ctwa dbt build --select +fct_leads`
    """
    from orchestration.dbt_by_hand import run_dbt

    raise typer.Exit(run_dbt(load_settings(), context.args))


def metrics(context: typer.Context) -> None:
    """Query the metrics by MetricFlow on the published marts, also while a refresh runs.

    Everything after `mf` goes to MetricFlow. Example:
    `ctwa mf query --metrics spend,leads,cost_per_qualified_lead --group-by metric_time__month`
    """
    from orchestration.dbt_by_hand import run_metricflow

    raise typer.Exit(run_metricflow(load_settings(), context.args))


def diff_rules(
    a: Annotated[
        str, typer.Argument(help="`current`, or the rules that differ: name=value,name=value")
    ],
    b: Annotated[str, typer.Argument(help="The other side, written the same way.")],
    as_of: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Last day of both sides. Default: today."),
    ] = None,
) -> None:
    """Show which credit moves under other rules, before you adopt them. Changes no mart.

    Names are those of the rule settings, such as conversation_gap_days, first_touch, lead_scope;
    project=DIR uses the models of another checkout. The result is published as credit_diff.
    Example: `ctwa diff-rules current conversation_gap_days=7`
    """
    settings = load_settings()
    with working("preparing", "ctwa.diff_rules"):
        from comparison.report import print_comparison
        from orchestration.comparison import diff_rules as run_diff

        made = run_diff(settings, a, b, as_of=as_of.date() if as_of else None)
    print_comparison(out, made.tables, made.words, settings.reporting_currency)


def try_rules(
    file: Annotated[Path, typer.Argument(help="The rules, as docs/chat-rules.md describes them.")],
    as_of: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Last day of both sides. Default: today."),
    ] = None,
) -> None:
    """Show what chat rules would change, before they are switched on. Changes nothing.

    Counts by rule and day, what each campaign's qualified lead would cost, and the leads that would
    move most; never a text. It reaches as far back as bodies are kept. Example:
    `ctwa rules try chat_rules.yml`
    """
    from ingestion.parser.chat_rules import chat_rules_at

    settings = load_settings()
    rules = chat_rules_at(file.expanduser().absolute(), settings)
    warn(*rules.problems)
    if not rules:
        raise UsageError(f"{file} has no rule that could be tried")
    with working("preparing", "ctwa.diff_rules"):
        from comparison.report import print_comparison, print_trial
        from orchestration.chat_trial import try_chat_rules

        tried = try_chat_rules(settings, rules, file.name, as_of=as_of.date() if as_of else None)
    since = tried.signals.since
    out.print(
        f"{tried.signals.bodies:,} kept bodies"
        + (f", the oldest of {since:%Y-%m-%d}" if since else "")
        + "; what is older stays as earlier rules had it."
    )
    print_trial(out, rules.ids, tried.by_day, tried.moved, tried.notes, settings.reporting_currency)
    print_comparison(out, tried.tables, "", settings.reporting_currency)
    if rules.problems:
        raise typer.Exit(1)


def report(
    context: typer.Context,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write. Default: beside the published marts."),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Write the report for marketers: one HTML file that opens offline.

    It is made from the published marts only and contains no personal data. Example:
    `ctwa report --output cost-per-lead.html --open`
    """
    import webbrowser

    from publishing.report.page import write_report

    if output and context.obj is not None:
        os.umask(context.obj)  # a file written on request may be shared
    written = write_report(load_settings(), output)
    out.print(
        f"{written.path}: {written.rows:,} rows, {written.bytes:,} bytes, as of {written.as_of}"
    )
    if written.pictures:
        out.print(written.pictures)
    if show:
        webbrowser.open(written.path.as_uri())
