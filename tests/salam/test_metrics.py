from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from salam import Metrics


def test_asking_twice_gives_the_same_metric() -> None:
    metrics = Metrics()
    assert metrics.counter("salam_x_total", "x") is metrics.counter("salam_x_total", "x")
    with pytest.raises(TypeError):
        metrics.gauge("salam_x_total", "x")


def test_drops_are_counted_by_port_and_reason() -> None:
    metrics = Metrics()
    metrics.drop("rtmp", "bad_chunk")
    metrics.drop("rtmp", "bad_chunk", 2)
    metrics.drop("rtmp", "too_large")
    metrics.drop("ws", "bad_chunk")
    assert metrics.dropped("rtmp", "bad_chunk") == 3
    assert metrics.dropped("rtmp") == 4
    assert metrics.dropped("http") == 0
    assert b'salam_dropped_total{port="rtmp",reason="bad_chunk"} 3.0' in metrics.render()


def test_two_engines_share_nothing_and_an_embedder_may_bring_a_registry() -> None:
    one, two = Metrics(), Metrics()
    one.drop("ws", "late")
    assert two.dropped("ws") == 0
    registry = CollectorRegistry()
    assert Metrics(registry).registry is registry
