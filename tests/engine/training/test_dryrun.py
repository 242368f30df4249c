from __future__ import annotations

from pathlib import Path

from blipq.worker.engine.training.dryrun import describe


def test_a_dry_run_tells_sizes_samples_steps_and_time_and_keeps_nothing(photos, plan_of):
    plan = plan_of(photos(30), epochs=3)
    report = describe(plan)
    assert (report["pictures"], report["validation_pictures"], report["steps"]) == (27, 3, 42)
    assert len(report["samples"]) == 3
    assert report["token_lengths"] == {"shortest": 12, "median": 12, "longest": 12}
    assert report["samples"][0]["caption"].startswith("a ")
    assert report["seconds"]["total"] > report["seconds"]["step"] > 0
    assert report["plan"]["freeze"] == "vision"
    assert not Path(plan.out).exists()
