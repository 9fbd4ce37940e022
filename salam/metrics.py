"""Prometheus metrics: one registry per engine, so that two engines in one process, or an embedder's own, never collide."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Metrics"]


class Metrics:
    """The metrics of one engine.

    Asking twice for the same name returns the same metric, so that independent parts can share one without knowing each other.
    ``registry`` lets an embedder hand in the registry it already exports.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = CollectorRegistry() if registry is None else registry
        self._known: dict[str, Counter | Gauge | Histogram] = {}
        self._drops = self.counter(
            "salam_dropped_total", "Inputs dropped, by the port they came to and the reason.", ("port", "reason")
        )

    def counter(self, name: str, help_text: str, labels: tuple[str, ...] = ()) -> Counter:
        """Return the counter ``name``, made on first use."""
        metric = self._known.get(name)
        if metric is None:
            metric = self._known[name] = Counter(name, help_text, labels, registry=self.registry)
        if not isinstance(metric, Counter):
            raise TypeError(f"metric {name} exists with another type")
        return metric

    def gauge(self, name: str, help_text: str, labels: tuple[str, ...] = ()) -> Gauge:
        """Return the gauge ``name``, made on first use."""
        metric = self._known.get(name)
        if metric is None:
            metric = self._known[name] = Gauge(name, help_text, labels, registry=self.registry)
        if not isinstance(metric, Gauge):
            raise TypeError(f"metric {name} exists with another type")
        return metric

    def histogram(self, name: str, help_text: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()) -> Histogram:
        """Return the histogram ``name`` with upper bounds ``buckets``, made on first use."""
        metric = self._known.get(name)
        if metric is None:
            metric = self._known[name] = Histogram(name, help_text, labels, buckets=buckets, registry=self.registry)
        if not isinstance(metric, Histogram):
            raise TypeError(f"metric {name} exists with another type")
        return metric

    def drop(self, port: str, reason: str, count: int = 1) -> None:
        """Count ``count`` dropped inputs on ``port`` (``ws``, ``media_udp``, ``media_tcp``, ``rtmp``, ``http``).

        ``reason`` must come from the code, never from the peer: each distinct value is a time series for good.
        """
        self._drops.labels(port, reason).inc(count)

    def dropped(self, port: str, reason: str | None = None) -> int:
        """Return how many inputs were dropped on ``port``, for ``reason`` or for all reasons."""
        total = 0.0
        for family in self._drops.collect():
            for sample in family.samples:
                if not sample.name.endswith("_total") or sample.labels["port"] != port:
                    continue
                if reason is None or sample.labels["reason"] == reason:
                    total += sample.value
        return int(total)

    def render(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self.registry)
