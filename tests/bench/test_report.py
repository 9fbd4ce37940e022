"""One shape for all measurements: medians, their spread, and ratios taken within a round."""

from __future__ import annotations

import io
import json

from rich.console import Console

from bench.report import BenchReport, Figure, figure, ratio_figures


def test_a_figure_is_the_median_with_half_the_distance_between_the_quartiles() -> None:
    assert figure([1.0, 2.0, 3.0, 4.0, 100.0], "us") == Figure(3.0, "us", 1.0)
    assert figure([123_456.0], "1/s") == Figure(123_500.0, "1/s", 0.0)


def test_a_ratio_is_taken_within_its_round() -> None:
    # Both were slow in the second round: the ratio does not see it.
    own, other = [{"a": 10.0}, {"a": 1.0}, {"a": 10.0}], [{"b": 5.0}, {"b": 0.5}, {"b": 5.0}]
    assert ratio_figures(own, other, {"a": "b"}) == {"a": Figure(2.0, "ratio", 0.0)}


def test_the_shape_is_the_same_for_every_scenario() -> None:
    report = BenchReport(
        "turn",
        "Microseconds",
        {"send_us": Figure(1.0, "us", 0.1)},
        {"salam": "1"},
        {"rounds": 3},
        peers={"aioice": {"send_us": Figure(5.0, "us", 0.2)}},
        ratios={"aioice": {"send_us": Figure(0.2, "ratio", 0.01)}},
        failed=["nothing"],
    )
    plain = json.loads(json.dumps(report.as_json()))
    assert plain["scenario"] == "turn"
    assert {"cpus", "processor", "system", "python"} == set(plain["machine"])
    assert plain["versions"] == {"salam": "1"}
    assert plain["metrics"] == {"send_us": {"value": 1.0, "unit": "us", "spread": 0.1}}
    assert plain["ratios"]["aioice"]["send_us"] == {"value": 0.2, "unit": "ratio", "spread": 0.01}
    out = io.StringIO()
    report.print_tables(Console(file=out, width=100))
    assert "send_us" in out.getvalue()
    assert "aioice" in out.getvalue()
