"""The simulation of workers, against what is computed by hand."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import report_scale, scale_transfer, timing
from benchmarks.cluster_model import Cluster, Work, limits, simulate

# 100 blocks of 50 pictures, 10 ms each: 0.5 s a block, 50 s on one core.
WORK = Work(n_blocks=100, block=50, seconds=0.01)
FREE = Cluster(n_workers=1, dispatch=0.0, latency=0.0, store=float("inf"))


@pytest.mark.parametrize("n_workers", [1, 2, 4, 50])
def test_workers_that_wait_for_nothing_add_up(n_workers):
    found = simulate(replace(FREE, n_workers=n_workers), WORK)
    assert found.seconds == pytest.approx(50 / n_workers)
    assert found.rate == pytest.approx(100 * n_workers)
    assert found.busy["cores"] == pytest.approx(1)


def test_workers_beyond_the_cores_add_nothing():
    found = simulate(replace(FREE, n_workers=4, n_cores=2), WORK)
    assert found.seconds == pytest.approx(25)
    assert limits(replace(FREE, n_workers=4, n_cores=2), WORK)["cores"] == pytest.approx(200)


def test_a_scheduler_hands_out_one_block_after_another():
    # 20 ms a block at the scheduler: 64 workers are fed 50 blocks, 2 500 pictures, a second.
    cluster = replace(FREE, n_workers=64, dispatch=0.02)
    found = simulate(cluster, replace(WORK, n_blocks=4000))
    assert found.rate == pytest.approx(2500, rel=0.02)
    assert limits(cluster, WORK)["scheduler"] == pytest.approx(2500)
    assert found.busy["scheduler"] > 0.98


def test_what_is_sent_takes_its_time_on_the_link():
    # 1 MB there and 1 MB back at 100 MB/s are 20 ms a block.
    cluster = replace(FREE, n_workers=64, bandwidth=1e8)
    work = replace(WORK, n_blocks=4000, task_bytes=1e6, answer_bytes=1e6)
    assert simulate(cluster, work).rate == pytest.approx(2500, rel=0.02)


def test_a_store_gives_so_many_bytes():
    # 50 kB a picture of 100 MB/s: 2 000 pictures a second, whoever asks.
    cluster = replace(FREE, n_workers=64, store=1e8)
    work = replace(WORK, n_blocks=4000, picture_bytes=5e4)
    found = simulate(cluster, work)
    assert found.rate == pytest.approx(2000, rel=0.02)
    assert limits(cluster, work)["store"] == pytest.approx(2000)
    # One worker reads for 0.5 ms and computes for 10 ms.
    assert simulate(replace(cluster, n_workers=1), work).rate == pytest.approx(1 / 0.0105, rel=1e-3)


def test_a_block_ahead_hides_the_way_to_the_scheduler():
    # 0.1 s there and back beside 0.5 s of work: hidden, or a sixth of the time.
    slow = replace(FREE, latency=0.05)
    assert simulate(slow, WORK).seconds == pytest.approx(50.1)
    assert simulate(replace(slow, ahead=1), WORK).seconds == pytest.approx(60)


def test_a_worker_that_is_lost_costs_its_blocks():
    # After 10.2 s both have done 20 blocks and are at their 21st; each has another.
    cluster = replace(FREE, n_workers=2, notice=3.0)
    found = simulate(cluster, WORK, lost=[(10.2, 1)])
    assert found.n_again == 2
    # The one that is left does the other 60, from 10 s on.
    assert found.seconds == pytest.approx(10 + 60 * 0.5)
    with pytest.raises(RuntimeError, match="all workers were lost"):
        simulate(cluster, WORK, lost=[(1.0, 0), (1.0, 1)])


def test_blocks_of_a_worker_lost_at_the_end_go_to_the_idle_ones():
    # The last block of worker 1 is missed at 54.7 s, by when the other has waited since 25 s.
    found = simulate(replace(FREE, n_workers=2, notice=30.0), WORK, lost=[(24.7, 1)])
    assert found.n_again == 1
    assert found.seconds == pytest.approx(54.7 + 0.5)


def test_limits_bound_what_is_simulated():
    cluster = Cluster(n_workers=8, n_cores=4, dispatch=2e-3, store=2e7)
    work = replace(WORK, picture_bytes=3e4, task_bytes=5e3, answer_bytes=400)
    found = simulate(cluster, work)
    assert 0.9 * min(limits(cluster, work).values()) < found.rate
    assert found.rate <= min(limits(cluster, work).values())


def test_the_page_is_that_of_the_lines():
    here = Path(report_scale.__file__).parent
    lines = [json.loads(line) for line in (here / "scale.jsonl").read_text().splitlines()]
    made = report_scale.page(lines, (here / "to_a_billion.rst").read_text())
    assert made == report_scale.TARGET.read_text(), "python -m benchmarks.report_scale"
    lines.append(lines[-1] | {"figures": {"milliseconds: a picture, paths to scores": 1e6}})
    changed = report_scale.page(lines, (here / "to_a_billion.rst").read_text())
    assert changed != made


def test_bytes_go_between_processes(tmp_path):
    out = tmp_path / "lines.jsonl"
    tasks = {"transfer": scale_transfer.transfer}
    timing.run_tasks(tasks, "", n=100, argv=["--n", "3", "--out", str(out)])
    figures = json.loads(out.read_text())["figures"]
    rates = [value for label, value in figures.items() if label.startswith("megabytes a second")]
    assert len(rates) == 6
    assert min(rates) > 0
