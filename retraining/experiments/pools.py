"""Where tasks are done: processes of this machine, or the nodes of a Ray cluster. Both look the same.

A worker process serves one task after the other, because importing torch takes seconds; each slot has its
own process, so that one that is killed takes no other task with it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

from retraining.errors import ExperimentError
from retraining.experiments.tasks import Roots, Task, TaskOutcome, perform
from station.machine import cores

DIED = "its process died (out of memory?); the same command continues from its checkpoint"
_LOOK_FOR_PARENT_S = 0.25
_busy = threading.Event()
"""Whether this worker process is at a task."""


class Pool(Protocol):
    """Does a few tasks at a time."""

    slots: int

    def start(self, task: Task, experiment: Path, roots: Roots) -> None:
        """Begin a task; at most ``slots`` are under way."""
        ...

    def ended(self, timeout_s: float) -> list[TaskOutcome]:
        """What has ended; waits at most ``timeout_s`` for the first."""
        ...

    def stop(self) -> None:
        """Ask the running tasks to write a checkpoint and end; :meth:`ended` still returns how they ended."""
        ...

    def close(self) -> None:
        """Let go of processes and connections."""
        ...


class ProcessPool:
    """``jobs`` processes, each with its share of the cores."""

    def __init__(self, jobs: int, threads: int) -> None:
        self.slots = jobs
        self._threads = threads
        self._workers: list[ProcessPoolExecutor | None] = [None] * jobs
        self._running: dict[Future[TaskOutcome], tuple[int, Task]] = {}

    def start(self, task: Task, experiment: Path, roots: Roots) -> None:
        """See :class:`Pool`."""
        taken = {slot for slot, _ in self._running.values()}
        slot = next(number for number in range(self.slots) if number not in taken)
        worker = self._workers[slot]
        if worker is None:
            worker = ProcessPoolExecutor(
                1,
                mp_context=get_context("spawn"),
                initializer=prepare_worker,
                initargs=(self._threads, slot, os.getpid()),
            )
            self._workers[slot] = worker
        self._running[worker.submit(perform_in_worker, task, experiment, roots)] = (slot, task)

    def ended(self, timeout_s: float) -> list[TaskOutcome]:
        """See :class:`Pool`."""
        done, _ = wait(self._running, timeout_s, FIRST_COMPLETED)
        outcomes = []
        for future in done:
            slot, task = self._running.pop(future)
            try:
                outcomes.append(future.result())
            except BrokenProcessPool:
                self._retire(slot)
                outcomes.append(TaskOutcome(task.key, "failed", DIED))
        return outcomes

    def stop(self) -> None:
        """See :class:`Pool`."""
        for slot, _ in self._running.values():
            for process in self._processes(slot):
                os.kill(process, signal.SIGTERM)

    def close(self) -> None:
        """See :class:`Pool`."""
        for slot in range(self.slots):
            self._retire(slot)

    def _processes(self, slot: int) -> list[int]:
        worker = self._workers[slot]
        processes: dict[int, Any] = getattr(worker, "_processes", None) or {}
        return [number for number, process in processes.items() if process.is_alive()]

    def _retire(self, slot: int) -> None:
        worker, self._workers[slot] = self._workers[slot], None
        if worker is not None:
            worker.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _no_clouds() -> Iterator[None]:
    """Start Ray's own processes behind a proxy at which nobody listens.

    Even with its usage statistics off it asks three clouds' metadata servers, by HTTP and by name, whether it
    runs there. Ray's processes speak to each other without a proxy.
    """
    before = os.environ.get("http_proxy")
    os.environ["http_proxy"] = "http://127.0.0.1:9"
    try:
        yield
    finally:
        if before is None:
            del os.environ["http_proxy"]
        else:
            os.environ["http_proxy"] = before


class RayPool:
    """A Ray cluster: ``local`` starts one on this machine, ``auto`` and addresses join a running one.

    The nodes must see the run folder and the data under the same paths.
    """

    def __init__(self, address: str, jobs: int, threads: int) -> None:
        try:
            import ray
        except ImportError:
            raise ExperimentError("Ray is not installed; pip install 'inspection-station[cluster]'") from None
        self._ray = ray
        quiet: dict[str, Any] = {"log_to_driver": False, "include_dashboard": False}
        try:
            if address == "local":
                with _no_clouds():
                    ray.init("local", num_cpus=jobs * threads, **quiet)
            else:
                ray.init(address, log_to_driver=False)
        except (ConnectionError, ValueError, RuntimeError) as problem:
            raise ExperimentError(
                f"there is no Ray cluster at {address!r} ({problem}); use --ray local for this machine"
            ) from None
        there: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        cards = int(there.get("GPU", 0))
        self.slots = max(1, cards or int(there.get("CPU", 1)) // threads)
        decorate = ray.remote(num_cpus=threads, num_gpus=1 if cards else 0, max_retries=0)
        self._perform: Callable[..., Any] = decorate(perform_on_node).remote
        self._threads = threads
        self._running: dict[Any, Task] = {}

    def start(self, task: Task, experiment: Path, roots: Roots) -> None:
        """See :class:`Pool`."""
        self._running[self._perform(task, experiment, roots, self._threads)] = task

    def ended(self, timeout_s: float) -> list[TaskOutcome]:
        """See :class:`Pool`."""
        if not self._running:
            return []
        done, _ = self._ray.wait(list(self._running), num_returns=1, timeout=timeout_s)
        outcomes = []
        for handle in done:
            task = self._running.pop(handle)
            try:
                outcomes.append(self._ray.get(handle))
            except self._ray.exceptions.TaskCancelledError:
                outcomes.append(TaskOutcome(task.key, "stopped", "stopped"))
            except self._ray.exceptions.RayError as problem:
                first = str(problem).strip().splitlines()[0]
                outcomes.append(TaskOutcome(task.key, "failed", f"{DIED} [{first}]"))
        return outcomes

    def stop(self) -> None:
        """See :class:`Pool`."""
        for handle in self._running:
            self._ray.cancel(handle, force=False)

    def close(self) -> None:
        """See :class:`Pool`."""
        self._ray.shutdown()


def open_pool(ray_address: str | None, jobs: int) -> Pool:
    """A pool of ``jobs`` at a time, the cores that are ours shared out among them."""
    threads = max(1, cores() // jobs)
    return RayPool(ray_address, jobs, threads) if ray_address else ProcessPool(jobs, threads)


def perform_in_worker(task: Task, experiment: Path, roots: Roots) -> TaskOutcome:
    """What a worker process runs."""
    _busy.set()
    try:
        return perform(task, experiment, roots)
    finally:
        _busy.clear()


def perform_on_node(task: Task, experiment: Path, roots: Roots, threads: int) -> TaskOutcome:
    """What a Ray node runs."""
    _share_machine(threads, 0)
    return perform(task, experiment, roots)


def prepare_worker(threads: int, slot: int, parent: int) -> None:
    """What a worker process does once: take its share of cores and cards, and end with its parent."""
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent passes it on
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _share_machine(threads, slot)


def _end_with(parent: int) -> None:
    """Without its parent nobody would ever end the process; its task leaves a checkpoint first."""
    while os.getppid() == parent:
        time.sleep(_LOOK_FOR_PARENT_S)
    if _busy.is_set():
        os.kill(os.getpid(), signal.SIGTERM)
    while _busy.is_set():
        time.sleep(0.05)
    os._exit(1)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _share_machine(threads: int, slot: int) -> None:
    import torch

    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        torch.cuda.set_device(slot % torch.cuda.device_count())
