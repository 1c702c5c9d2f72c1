"""How many pictures a second workers give, and what holds them back: a simulation, and its limits.

A scheduler hands out blocks of pictures, each worker up to `ahead` of them. A worker reads the
pictures of a block from a store that all share, decodes and computes on a core, and sends the
answer back, upon which it is handed the next. Scheduler and store serve one after another; what is
sent takes the time of its bytes on the scheduler's link, and some more to arrive. A worker that is
lost is missed after a while; its blocks are handed out again.
"""

import heapq
from collections import deque
from dataclasses import dataclass
from itertools import count


@dataclass(frozen=True)
class Cluster:
    """Machines, and what is between them.

    Parameters
    ----------
    n_workers : int
    n_cores : int, optional
        That workers share; by default each has its own.
    dispatch : float
        Seconds that the scheduler spends on a block, with its answer.
    latency : float
        Seconds that what is sent takes to arrive, however small.
    bandwidth : float
        Bytes a second of the scheduler's link.
    store : float
        Bytes a second of where pictures lie, for all workers together.
    ahead : int
        Blocks that a worker has at once, of which it works on one.
    notice : float
        Seconds until a worker that is lost is missed.
    start : float
        Seconds until a worker is ready, with its network and gallery.
    """

    n_workers: int
    n_cores: int | None = None
    dispatch: float = 1e-3
    latency: float = 2e-4
    bandwidth: float = 1.25e9
    store: float = 5e8
    ahead: int = 2
    notice: float = 10.0
    start: float = 0.0


@dataclass(frozen=True)
class Work:
    """Pictures to be scored.

    Parameters
    ----------
    n_blocks, block : int
        Number of blocks, and of pictures in each.
    seconds : float
        Of a core for a picture: decoding, network, search.
    picture_bytes : float
        Of its file.
    task_bytes, answer_bytes : float
        Of what is sent for a block, and of its answer.
    """

    n_blocks: int
    block: int
    seconds: float
    picture_bytes: float = 0.0
    task_bytes: float = 0.0
    answer_bytes: float = 0.0

    @property
    def n_pictures(self):
        """Number of pictures."""
        return self.n_blocks * self.block


@dataclass
class Outcome:
    """What came of it.

    Parameters
    ----------
    seconds : float
        Until the last answer.
    rate : float
        Pictures a second.
    n_again : int
        Blocks that were handed out again.
    busy : dict of str to float
        Share of the time that "scheduler", "store" and "cores" were at work.
    """

    seconds: float
    rate: float
    n_again: int
    busy: dict


def limits(cluster, work):
    """Pictures a second that each part allows alone.

    Returns
    -------
    limits : dict of str to float
        Of "scheduler", "store" and "cores"; the least is the limit of all.
    """
    n_cores = min(cluster.n_workers, cluster.n_cores or cluster.n_workers)
    busy = cluster.dispatch + (work.task_bytes + work.answer_bytes) / cluster.bandwidth
    # A worker reads and computes in turn; where workers outnumber cores, one reads while others
    # compute.
    reading = work.picture_bytes / cluster.store
    workers = cluster.n_workers / (work.seconds + reading)
    return {
        "scheduler": work.block / busy if busy else float("inf"),
        "store": 1 / reading if reading else float("inf"),
        "cores": min(workers, n_cores / work.seconds),
    }


def simulate(cluster, work, lost=()):
    """Score all blocks.

    Parameters
    ----------
    cluster : Cluster
    work : Work
    lost : sequence of tuple of float and int
        When which worker is lost.

    Returns
    -------
    outcome : Outcome
    """
    return Simulation(cluster, work).run(lost)


class Simulation:
    """Events in order of time; each is a stage of a block's way, and calls for the next."""

    def __init__(self, cluster, work):
        self.cluster, self.work = cluster, work
        self._events, self._order = [], count()
        self._free = {"scheduler": 0.0, "store": 0.0}
        n_cores = cluster.n_cores or cluster.n_workers
        self._cores = [0.0] * n_cores
        self._busy = {"scheduler": 0.0, "store": 0.0, "cores": 0.0}
        self._todo, self._done = deque(range(work.n_blocks)), set()
        self._alive, self._idle = set(range(cluster.n_workers)), deque()
        self._queues = {worker: deque() for worker in self._alive}
        self._at_work, self._has = {}, {worker: set() for worker in self._alive}
        self._n_again, self._last = 0, 0.0

    def run(self, lost=()):
        """Until all answers are there, or no worker is."""
        for time, worker in lost:
            self._at(time, self._lose, worker)
        for _ in range(self.cluster.ahead):
            for worker in sorted(self._alive):
                self._at(self.cluster.start, self._hand_out, worker)
        while self._events and len(self._done) < self.work.n_blocks:
            time, _, stage, arguments = heapq.heappop(self._events)
            stage(time, *arguments)
        if len(self._done) < self.work.n_blocks:
            raise RuntimeError(f"all workers were lost, and {len(self._todo)} blocks are left")
        took = self._last
        shares = {name: busy / took for name, busy in self._busy.items()}
        shares["cores"] /= min(len(self._cores), self.cluster.n_workers)
        return Outcome(took, self.work.n_pictures / took, self._n_again, shares)

    def _at(self, time, stage, *arguments):
        heapq.heappush(self._events, (time, next(self._order), stage, arguments))

    def _serve(self, name, time, seconds):
        """When what is asked for now is done by a part that serves one after another."""
        self._free[name] = max(self._free[name], time) + seconds
        self._busy[name] += seconds
        return self._free[name]

    def _hand_out(self, time, worker):
        if worker not in self._alive:
            return
        if not self._todo:
            self._idle.append(worker)
            return
        block = self._todo.popleft()
        self._has[worker].add(block)
        sent = self.cluster.dispatch + self.work.task_bytes / self.cluster.bandwidth
        ready = self._serve("scheduler", time, sent)
        self._at(ready + self.cluster.latency, self._arrive, worker, block)

    def _arrive(self, time, worker, block):
        self._queues[worker].append(block)
        if worker not in self._at_work:
            self._begin(time, worker)

    def _begin(self, time, worker):
        """The next block of a worker: its pictures are read."""
        if worker in self._alive and self._queues[worker]:
            self._at_work[worker] = block = self._queues[worker].popleft()
            read = self.work.block * self.work.picture_bytes / self.cluster.store
            self._at(self._serve("store", time, read), self._compute, worker, block)

    def _compute(self, time, worker, block):
        if worker in self._alive:
            seconds = self.work.block * self.work.seconds
            done = max(heapq.heappop(self._cores), time) + seconds
            heapq.heappush(self._cores, done)
            self._busy["cores"] += seconds
            self._at(done, self._finish, worker, block)

    def _finish(self, time, worker, block):
        if worker in self._alive:
            del self._at_work[worker]
            self._at(time + self.cluster.latency, self._answer, worker, block)
            self._begin(time, worker)

    def _answer(self, time, worker, block):
        """An answer that was sent arrives, even if its worker is lost by now."""
        took = self._serve("scheduler", time, self.work.answer_bytes / self.cluster.bandwidth)
        self._done.add(block)
        self._has[worker].discard(block)
        self._last = max(self._last, took)
        self._hand_out(took, worker)

    def _lose(self, time, worker):
        self._alive.discard(worker)
        self._at(time + self.cluster.notice, self._miss, worker)

    def _miss(self, time, worker):
        """The blocks of a worker that is lost are handed out again, first of all."""
        again = sorted(self._has[worker])
        self._has[worker].clear()
        self._todo.extendleft(reversed(again))
        self._n_again += len(again)
        for _ in range(min(len(again), len(self._idle))):
            self._hand_out(time, self._idle.popleft())
