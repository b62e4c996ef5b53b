"""The receiver: signed bodies are stored byte for byte, then answered (rule R1).

No web framework and no ASGI: each would cost more per request than signature and commit together,
so `protocol` hands each request over as an `Exchange`. Nothing here parses a webhook or touches the
warehouse; only the shape of what a company's own systems post (leads, outcomes, consents) is
checked, so that they learn of mistakes at once.

    GET  /webhooks/whatsapp   Meta's handshake; /webhooks/messenger too
    POST /webhooks/whatsapp   envelopes of the WhatsApp Business Platform
    POST /webhooks/leads      forms of the company's site
    POST /webhooks/outcomes   what the CRM reports about leads
    POST /webhooks/consents   who gave or withdrew consent
    POST /webhooks/messenger  /webhooks/twilio  /webhooks/360dialog  /webhooks/gupshup
    POST /clicks              clicks on the site's WhatsApp button, unsigned
    GET  /healthz /readyz /metrics

A new endpoint for bodies is a new `Intake` in `ingestion.webhook.endpoints`.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import time
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs

from ctwa.live_state import LiveState
from ctwa.settings import Settings
from ingestion.vault import open_vault
from ingestion.vault.vault import NewEnvelope, VaultDamagedError, VaultError
from ingestion.webhook import http
from ingestion.webhook.clicks import PATH as CLICKS
from ingestion.webhook.clicks import Clicks, TokenBucket
from ingestion.webhook.committer import GroupCommitter, LateVault, QueueFullError
from ingestion.webhook.endpoints import Intake, intakes
from ingestion.webhook.exchange import Exchange, Route
from ingestion.webhook.fields import IntakeError
from ingestion.webhook.http import Answer, BodyMemory, Scope
from ingestion.webhook.telemetry import LogBrake, ReceiverMetrics

log = logging.getLogger(__name__)

_CHALLENGE = re.compile(r"[\w.~-]{1,256}", re.ASCII)
_READY_SECONDS = 1.0  # /readyz writes, but at most once in this time
_METRICS_PER_SECOND = 20.0  # above that rate the last exposition is repeated
_LONG_BODY = 32 * 1024
"""From this size on, signature and shape are checked in a thread, so that neither strangers nor a
list of a thousand outcomes block the loop."""
_FORBIDDEN = Answer(403, "forbidden", b"forbidden\n")
_ALIVE = Answer(200, "alive", b"ok\n")


class Receiver:
    """All endpoints. `store=False` checks signatures and stores nothing: for measuring only."""

    def __init__(self, settings: Settings, *, store: bool = True) -> None:
        self.metrics = ReceiverMetrics()
        self._data_dir = settings.data_dir
        self.vault = LateVault(lambda: open_vault(settings.vault_url))
        self.committer: GroupCommitter | None = None
        self.memory = BodyMemory()
        self.tasks: set[asyncio.Task[None]] = set()
        self._store = store
        self._brake = LogBrake(log)
        self._fresh_metrics = TokenBucket(_METRICS_PER_SECOND, _METRICS_PER_SECOND)
        self._exposition = b""
        self._ready_at = -_READY_SECONDS
        self._ready = http.UNAVAILABLE
        self._checking = asyncio.Lock()
        token = settings.meta_verify_token
        self._verify_token = token.get_secret_value().encode() if token else None
        self.intakes = intakes(settings)
        self.routes: dict[str, dict[str, Route]] = {
            "/healthz": {"GET": Route(lambda exchange: exchange.reply(_ALIVE))},
            "/readyz": {"GET": Route(lambda exchange: exchange.later(self._readyz()))},
            "/metrics": {"GET": Route(self._metrics)},
            **{path: {"POST": self._intake(intake)} for path, intake in self.intakes.items()},
        }
        self._clicks = Clicks(settings, self._keep_unsigned, self.metrics, self._brake)
        if self._clicks.is_on:
            self.routes[CLICKS] = self._clicks.routes()
        for path in ("/webhooks/whatsapp", "/webhooks/messenger"):
            self.routes[path]["GET"] = Route(self._handshake)
        for methods in self.routes.values():
            if "GET" in methods:
                methods["HEAD"] = methods["GET"]

    def answered(self, endpoint: str, answer: Answer) -> None:
        """Count an answer, and log it if it is a refusal."""
        self.metrics.answered(endpoint, answer.outcome)
        if answer.status >= 400 and answer.outcome != http.FAILED.outcome:
            self._brake.refused(endpoint, answer.status, answer.outcome)

    def disconnected(self, endpoint: str) -> None:
        """Count a request whose client went before it was complete."""
        self.metrics.answered(endpoint, "disconnected")

    def failed(self, endpoint: str, error: Exception) -> None:
        """Log a bug in one line: its kind and place, but not the text, which may quote data."""
        step = error.__traceback__
        while step is not None and step.tb_next is not None:
            step = step.tb_next
        name = Path(step.tb_frame.f_code.co_filename).name if step else "?"
        place = f"{name}:{step.tb_lineno}" if step else "?"
        kind = type(error).__name__
        self._brake.say(
            (endpoint, kind, place),
            logging.ERROR,
            "%s answered 500: %s at %s; please report it",
            endpoint,
            kind,
            place,
        )

    async def start(self) -> None:
        """Open the vault; if that fails, log it and answer 503 until it succeeds."""
        for path, intake in self.intakes.items():
            if not intake.secrets and not intake.is_optional:
                log.warning("%s answers 503: %s is not set", path, intake.setting)
        if self._verify_token is None:
            log.warning("Meta's handshake answers 403: META_VERIFY_TOKEN is not set")
        if self._clicks.is_half_set:
            log.warning("/clicks answers 404: CTWA_SITE_ID and CTWA_SITE_ORIGINS go together")
        if not self._store:
            return
        self.committer = GroupCommitter(self.vault, self.metrics, self._brake)
        try:
            await asyncio.to_thread(self.vault.vault)
        except VaultError as error:
            log.error("all webhooks answer 503 until the vault can be opened: %s", error)

    async def stop(self) -> None:
        """Commit what is queued, then close the vault."""
        if self.committer is not None:
            await self.committer.drain()
        self.vault.close()

    def _intake(self, intake: Intake) -> Route:
        if not intake.secrets:
            reason = f"{intake.setting} is not set\n".encode()
            refusal = Answer(503, "not_configured", reason, (http.RETRY, http.CLOSE))
            return Route(lambda _: None, intake.max_bytes, lambda _: refusal)

        def handle(exchange: Exchange) -> None:
            if len(exchange.content) > _LONG_BODY:
                exchange.later(self._long(intake, exchange))
                return
            refusal = _refusal(intake, exchange.scope, exchange.content)
            if refusal is not None:
                exchange.reply(refusal)
                return
            durable = self._submit(intake.source, exchange.content)
            if isinstance(durable, Answer):
                exchange.reply(intake.stored if durable is http.OK else durable)
            else:
                durable.add_done_callback(partial(_acknowledge, exchange, intake.stored))

        return Route(handle, intake.max_bytes)

    async def _long(self, intake: Intake, exchange: Exchange) -> Answer:
        refusal = await asyncio.to_thread(_refusal, intake, exchange.scope, exchange.content)
        if refusal is not None:
            return refusal
        answer = await self._keep(intake.source, exchange.content)
        return intake.stored if answer is http.OK else answer

    async def _keep_unsigned(self, source: str, body: bytes) -> Answer:
        return await self._keep(source, body, is_signed=False)

    async def _keep(self, source: str, body: bytes, *, is_signed: bool = True) -> Answer:
        """Durable first, then 200."""
        durable = self._submit(source, body, is_signed=is_signed)
        if isinstance(durable, Answer):
            return durable
        return http.OK if await durable else http.UNAVAILABLE

    def _submit(
        self, source: str, body: bytes, *, is_signed: bool = True
    ) -> asyncio.Future[bool] | Answer:
        """Queue a body for the next commit; the future says whether that is durable."""
        if self.committer is None:
            return http.OK if not self._store else http.UNAVAILABLE
        item = NewEnvelope(time.time_ns() // 1000, source, body)
        try:
            if is_signed:
                return self.committer.submit(item)
            return self.committer.submit_unsigned(item)
        except QueueFullError:
            return http.OVERLOADED

    def _handshake(self, exchange: Exchange) -> None:
        exchange.reply(self._handshake_answer(exchange.scope["query_string"]))

    def _handshake_answer(self, query_string: bytes) -> Answer:
        try:
            query = parse_qs(query_string.decode("ascii"), max_num_fields=20)
        except ValueError:
            return _FORBIDDEN
        mode, token, challenge = (
            query.get(f"hub.{name}", [""])[0] for name in ("mode", "verify_token", "challenge")
        )
        given = token.encode("utf-8", "surrogatepass")
        if self._verify_token is None or not hmac.compare_digest(given, self._verify_token):
            return _FORBIDDEN
        if mode != "subscribe" or not _CHALLENGE.fullmatch(challenge):
            return _FORBIDDEN
        return Answer(200, "handshake", challenge.encode())

    async def _readyz(self) -> Answer:
        async with self._checking:
            if time.monotonic() - self._ready_at >= _READY_SECONDS:
                self._ready = await self._probe()
                self._ready_at = time.monotonic()
        return self._ready

    async def _probe(self) -> Answer:
        if self.committer is None:
            return _not_ready("the vault does not take envelopes")
        # If a commit has just failed, a write that succeeds proves nothing; damage is reported
        # first.
        failed = self.committer.failed_lately
        try:
            async with asyncio.timeout(10):
                await asyncio.to_thread(self.vault.ping)
                description = await asyncio.to_thread(self.vault.described)
        except VaultDamagedError:
            self.metrics.vault_damaged.set(1)
            return _not_ready("the vault is damaged; docs/operations.md says what to do")
        except (VaultError, TimeoutError):
            return _not_ready("the vault cannot be written")
        self.metrics.vault_damaged.set(0)
        if failed:
            return _not_ready("the vault does not take envelopes")
        return Answer(200, "ready", b"ready\n" + description.encode())

    def _metrics(self, exchange: Exchange) -> None:
        if self._fresh_metrics.take() or not self._exposition:
            self.metrics.live(LiveState.read(self._data_dir))
            self._exposition = self.metrics.exposition()
        kind = ReceiverMetrics.content_type
        exchange.reply(Answer(200, "metrics", self._exposition, (), kind))


def _acknowledge(exchange: Exchange, stored: Answer, durable: asyncio.Future[bool]) -> None:
    exchange.reply(stored if durable.result() else http.UNAVAILABLE)


def _refusal(intake: Intake, scope: Scope, body: bytes) -> Answer | None:
    """401 or 422, or None if a body may be stored."""
    if not intake.authentic(scope, body, intake.secrets):
        return http.BAD_SIGNATURE
    if intake.check is not None:
        try:
            intake.check(body)
        except IntakeError as error:
            return http.misfit(error)
    return None


def _not_ready(why: str) -> Answer:
    return Answer(503, "not_ready", f"{why}\n".encode(), (http.RETRY,))
