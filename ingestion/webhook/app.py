"""The receiver: signed bodies in, kept byte for byte, then answered (rule R1).

A bare ASGI app: a framework costs more per request here than signature and commit together. It
never parses a webhook and never touches the warehouse; only what senders of ours post (leads,
outcomes, consents) is checked for its shape, so that they learn of mistakes at once.

    GET  /webhooks/whatsapp   Meta's handshake; /webhooks/messenger too
    POST /webhooks/whatsapp   envelopes of the WhatsApp Business Platform
    POST /webhooks/leads      forms of the company's site
    POST /webhooks/outcomes   what the CRM says of leads
    POST /webhooks/consents   who gave or withdrew consent
    POST /webhooks/messenger  /webhooks/twilio  /webhooks/360dialog  /webhooks/gupshup
    POST /clicks              clicks on the site's WhatsApp button, unsigned
    GET  /healthz /readyz /metrics

One more endpoint for bodies is one more `Intake` in `ingestion.webhook.endpoints`.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import time
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs

from ctwa.settings import Settings, load_settings
from ingestion.webhook import http
from ingestion.webhook.clicks import PATH as CLICKS
from ingestion.webhook.clicks import Clicks
from ingestion.webhook.committer import GroupCommitter, LateVault, QueueFullError
from ingestion.webhook.endpoints import Intake, intakes
from ingestion.webhook.fields import IntakeError
from ingestion.webhook.http import Answer, Receive, Scope, Send
from ingestion.webhook.metrics import ReceiverMetrics
from ingestion.webhook.refusals import RefusalLog
from ingestion.webhook.vault import NewEnvelope, Vault, VaultError

log = logging.getLogger(__name__)

Handler = Callable[[Scope, Receive], Awaitable[Answer | None]]

BODY_SECONDS = 5.0
_CHALLENGE = re.compile(r"[\w.~-]{1,256}", re.ASCII)
_READY_SECONDS = 1.0  # /readyz writes: however often it is asked, once in this time
_FORBIDDEN = Answer(403, "forbidden", b"forbidden\n")
_ALIVE = Answer(200, "alive", b"ok\n")


class Receiver:
    """The ASGI app. `store=False` checks signatures and keeps nothing: for measuring only."""

    def __init__(
        self, settings: Settings, *, store: bool = True, body_seconds: float = BODY_SECONDS
    ) -> None:
        self.metrics = ReceiverMetrics()
        self.vault = LateVault(lambda: Vault.open(settings.vault_url))
        self.committer: GroupCommitter | None = None
        self._store = store
        self._body = http.BodyReader(seconds=body_seconds)
        self._refusals = RefusalLog(log)
        self._ready_at = -_READY_SECONDS
        self._ready = http.UNAVAILABLE
        self._checking = asyncio.Lock()
        token = settings.meta_verify_token
        self._verify_token = token.get_secret_value().encode() if token else None
        self.intakes = intakes(settings)
        self._routes: dict[str, dict[str, Handler]] = {
            "/healthz": {"GET": self._healthz},
            "/readyz": {"GET": self._readyz},
            "/metrics": {"GET": self._metrics},
            **{path: {"POST": self._intake(intake)} for path, intake in self.intakes.items()},
        }
        self._clicks = Clicks(settings, self._body, self._keep)
        if self._clicks.is_on:
            self._routes[CLICKS] = {"POST": self._clicks.post, "OPTIONS": self._clicks.preflight}
        for path in ("/webhooks/whatsapp", "/webhooks/messenger"):
            self._routes[path]["GET"] = self._handshake
        for methods in self._routes.values():
            if "GET" in methods:
                methods["HEAD"] = methods["GET"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry point."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        methods = self._routes.get(scope["path"])
        if methods is None:
            endpoint, answer = "other", http.NOT_FOUND
        else:
            endpoint = scope["path"]
            handler = methods.get(scope["method"])
            if handler is None:
                answer = http.not_allowed(", ".join(methods))
            else:
                found = await handler(scope, receive)
                if found is None:  # the client has gone
                    self.metrics.answered(endpoint, "disconnected")
                    return
                answer = found
        self.metrics.answered(endpoint, answer.outcome)
        if answer.status >= 400:
            self._refusals.note(endpoint, answer.status, answer.outcome)
        await http.respond(send, answer)

    async def start(self) -> None:
        """Open the vault; if it is not there, say so and start without: 503 until it is."""
        for path, intake in self.intakes.items():
            if not intake.secrets and not intake.is_optional:
                log.warning("%s answers 503: %s is not set", path, intake.setting)
        if self._verify_token is None:
            log.warning("Meta's handshake answers 403: META_VERIFY_TOKEN is not set")
        if self._clicks.is_half_set:
            log.warning("/clicks answers 404: CTWA_SITE_ID and CTWA_SITE_ORIGINS go together")
        if not self._store:
            return
        self.committer = GroupCommitter(self.vault, self.metrics)
        try:
            await asyncio.to_thread(self.vault.vault)
        except VaultError as error:
            log.error("all webhooks answer 503 until the vault is there: %s", error)

    async def stop(self) -> None:
        """Commit what is queued, then close the vault."""
        if self.committer is not None:
            await self.committer.drain()
        self.vault.close()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await self.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})

    def _intake(self, intake: Intake) -> Handler:
        not_configured = Answer(
            503, "not_configured", f"{intake.setting} is not set\n".encode(), (http.RETRY,)
        )

        async def handle(scope: Scope, receive: Receive) -> Answer | None:
            if not intake.secrets:
                return not_configured._replace(headers=(http.RETRY, http.CLOSE))
            body = await self._body.read(scope, receive)
            if not isinstance(body, bytes):
                return body
            if not intake.authentic(scope, body, intake.secrets):
                return http.BAD_SIGNATURE
            if intake.check is not None:
                try:
                    intake.check(body)
                except IntakeError as error:
                    return http.misfit(error)
            answer = await self._keep(intake.source, body)
            return intake.stored if answer is http.OK else answer

        return handle

    async def _keep(self, source: str, body: bytes) -> Answer:
        """Durable first, then 200."""
        if self.committer is None:
            return http.OK if not self._store else http.UNAVAILABLE
        try:
            durable = self.committer.submit(NewEnvelope(time.time_ns() // 1000, source, body))
        except QueueFullError:
            return http.OVERLOADED
        return http.OK if await durable else http.UNAVAILABLE

    async def _handshake(self, scope: Scope, _receive: Receive) -> Answer:
        try:
            query = parse_qs(scope["query_string"].decode("ascii"), max_num_fields=20)
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

    async def _healthz(self, _scope: Scope, _receive: Receive) -> Answer:
        return _ALIVE

    async def _readyz(self, _scope: Scope, _receive: Receive) -> Answer:
        async with self._checking:
            if time.monotonic() - self._ready_at >= _READY_SECONDS:
                self._ready = await self._probe()
                self._ready_at = time.monotonic()
        return self._ready

    async def _probe(self) -> Answer:
        if self.committer is None or self.committer.failed_lately:
            return Answer(503, "not_ready", b"the vault does not take envelopes\n", (http.RETRY,))
        try:
            async with asyncio.timeout(10):
                await asyncio.to_thread(self.vault.ping)
        except (VaultError, TimeoutError):
            return Answer(503, "not_ready", b"the vault cannot be written\n", (http.RETRY,))
        return Answer(200, "ready", b"ready\n")

    async def _metrics(self, _scope: Scope, _receive: Receive) -> Answer:
        body = self.metrics.exposition()
        return Answer(200, "metrics", body, (), ReceiverMetrics.content_type)


def create_app(settings: Settings | None = None, *, store: bool = True) -> Receiver:
    """The receiver for `settings`; without them, of the environment (`uvicorn --factory`)."""
    return Receiver(settings or load_settings(), store=store)
