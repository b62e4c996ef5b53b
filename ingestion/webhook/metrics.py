"""What the receiver counts. Nothing personal: labels are endpoints, outcomes and sources only."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from ingestion.webhook.vault import NewEnvelope

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)


class ReceiverMetrics:
    """Metrics of one app, in a registry of its own (tests start several apps in one process)."""

    content_type = CONTENT_TYPE_LATEST.encode()

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self._requests = Counter(
            "ctwa_receiver_requests",
            "Answers by endpoint and outcome (stored, bad_signature, too_large, ...).",
            ["endpoint", "outcome"],
            registry=self.registry,
        )
        self._children: dict[tuple[str, str], Counter] = {}
        self.commit_failures = Counter(
            "ctwa_vault_commit_failures",
            "Commits that failed; their requests were answered 503.",
            registry=self.registry,
        )
        self._commit_seconds = Histogram(
            "ctwa_vault_commit_seconds",
            "Time of a commit, hand-over included.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._commit_rows = Histogram(
            "ctwa_vault_commit_rows",
            "Envelopes in a commit.",
            buckets=_ROWS,
            registry=self.registry,
        )
        self._stored_bytes = Counter(
            "ctwa_vault_stored_bytes", "Bytes of stored bodies.", registry=self.registry
        )
        self.queue_depth = Gauge(
            "ctwa_vault_queue_depth", "Envelopes waiting for a commit.", registry=self.registry
        )
        # Silence is how lost webhooks show (E74): alert on the age of this.
        self._last_envelope = Gauge(
            "ctwa_last_envelope_timestamp_seconds",
            "Receipt of the newest stored envelope, Unix time.",
            ["source"],
            registry=self.registry,
        )

    def answered(self, endpoint: str, outcome: str) -> None:
        """Count one answer."""
        child = self._children.get((endpoint, outcome))
        if child is None:
            child = self._requests.labels(endpoint, outcome)
            self._children[endpoint, outcome] = child
        child.inc()

    def committed(self, items: Sequence[NewEnvelope], seconds: float) -> None:
        """Note one durable commit of `items`."""
        self._commit_seconds.observe(seconds)
        self._commit_rows.observe(len(items))
        self._stored_bytes.inc(sum(len(item.body) for item in items))
        for source, received_at_us in {i.source: i.received_at_us for i in items}.items():
            self._last_envelope.labels(source).set(received_at_us / 1_000_000)

    def exposition(self) -> bytes:
        """Prometheus text format."""
        return generate_latest(self.registry)
