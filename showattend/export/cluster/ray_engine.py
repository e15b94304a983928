"""Captions parts with Ray actors, on one machine or many.

Ray Data's own pool keeps a lost actor's work until the actor restarts, which it never does if its
machine is gone for good. So the parts are assigned here (`Dispatcher`), and a lost one goes to the
next free worker.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from showattend.exceptions import UserError, one_line
from showattend.export.cluster.dispatching import LIVES, Dispatcher
from showattend.export.cluster.part_worker import Outcome, PartWorker
from showattend.export.cluster.partition import Part
from showattend.export.cluster.stores import Store, adopt_settings, settings_of

_log = logging.getLogger(__name__)
LOOK = 2.0
"""Seconds after which the workers are checked, if none has reported."""


class Work(NamedTuple):
    """The settings that are sent to workers.

    Attributes:
        model: The model, as a name or path that all machines know.
        digest: The digest of its files; a machine with other files is not used.
        store: The store for the parts.
        kind: ``parquet`` or ``jsonl``.
        folder: The folder that relative paths start from.
        device: See `Captioner.from_pretrained`.
        precision: See there.
        size: See there.
        batch_size: Images the model sees at once.
        search: Options of search.
        cores: Cores per worker.
    """

    model: str | None
    digest: str
    store: Store
    kind: str
    folder: str
    device: str = "auto"
    precision: str = "fp32"
    size: int | None = None
    batch_size: int = 32
    search: dict[str, Any] = {}  # noqa: RUF012 (never written)
    cores: int = 1


class _Actor:
    """A process that holds the model."""

    def __init__(self, work: Work, settings: dict[str, str]) -> None:
        self._work, self._settings = work, settings
        self._worker: PartWorker | None = None

    def load(self) -> str:
        """Load the model; returns any error as a line, since actors' errors are long."""
        from showattend.export.cluster.caption_batch import load_worker
        from showattend.model.checkpoint import files_digest

        work = self._work
        try:
            adopt_settings(self._settings)
            digest = files_digest(work.model)
            if digest != work.digest:
                return f"{work.model or 'the model'}: other files ({digest}) than on the first one"
            captioner = load_worker(work.model, work.device, work.precision, work.size, work.cores)
            captioner.stream([], **work.search)  # says what is wrong with the options
            self._worker = PartWorker(
                captioner, work.store, work.kind, work.folder, work.batch_size, work.search
            )
        except UserError as error:
            return str(error)
        return ""

    def caption(self, part: Part) -> Outcome:
        """Caption a part."""
        assert self._worker is not None
        return self._worker(part)


@contextmanager
def connected() -> Iterator[Any]:
    """Ray, connected to the cluster that RAY_ADDRESS or this machine names, or to a new one here.

    Raises:
        UserError: The cluster cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        yield ray
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(logging_level="ERROR", log_to_driver=False, include_dashboard=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(f"Ray cannot be started or reached ({one_line(error)})") from None
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray installs its own
    try:
        yield ray
    finally:
        ray.shutdown()


def count_workers(ray: Any, wanted: int | None, cores: int, device: str) -> tuple[int, bool]:
    """The number of workers, and whether each has a GPU.

    Raises:
        UserError: No machine of the cluster has room for one.
    """
    nodes = [each["Resources"] for each in ray.nodes() if each["Alive"]]
    gpus = sum(int(each.get("GPU", 0)) for each in nodes)
    with_gpu = device.startswith("cuda") or (device == "auto" and gpus > 0)
    room = 0
    for each in nodes:
        by_cores = int(each.get("CPU", 0)) // cores
        room += min(by_cores, int(each.get("GPU", 0))) if with_gpu else by_cores
    if not room:
        needed = f"{cores} cores" + (" and a GPU" if with_gpu else "")
        raise UserError(f"no machine of the cluster has {needed} free; lower --worker-cores")
    return wanted or room, with_gpu


class _Report(NamedTuple):
    """The result of a call: a worker has loaded, has done its part, or neither."""

    actor: Any
    was_loading: bool
    problem: str = ""
    is_lost: bool = False
    outcome: Outcome = Outcome(-1, 0, 0)


class _Fleet:
    """The workers: those loading, those idle, and those with a part."""

    def __init__(self, ray: Any, work: Work, count: int, with_gpu: bool) -> None:
        self.ray = ray
        # A lost actor is replaced by a new one, which gets no part before it has loaded.
        self._kind = ray.remote(_Actor).options(
            num_cpus=work.cores, num_gpus=int(with_gpu), max_restarts=0, max_task_retries=0
        )
        self._arguments = (work, settings_of(dict(os.environ)))
        self.waiting: list[Any] = []
        self.calls: dict[Any, Any] = {}  # the call in progress: its actor
        self.loading: set[Any] = set()
        self.failures, self._count, self.has_worked = 0, count, False
        for _ in range(count):
            self.hire()

    def hire(self) -> None:
        """Start another actor; it waits until a machine has room."""
        actor = self._kind.remote(*self._arguments)
        call = actor.load.remote()
        self.calls[call] = actor
        self.loading.add(call)

    def give(self, actor: Any, part: Part) -> None:
        """Let an actor caption a part."""
        self.calls[actor.caption.remote(part)] = actor

    def reports(self) -> list[Any]:
        """The calls that have ended; waits for the first of them, for at most `LOOK`."""
        ended, _ = self.ray.wait(list(self.calls), num_returns=1, timeout=LOOK)
        if ended:
            ended, _ = self.ray.wait(list(self.calls), num_returns=len(self.calls), timeout=0)
        return list(ended)

    def report(self, call: Any) -> _Report:
        """The result of a call that has ended."""
        actor, was_loading = self.calls.pop(call), call in self.loading
        self.loading.discard(call)
        try:
            result = self.ray.get(call)
        except self.ray.exceptions.RayTaskError as error:
            return _Report(actor, was_loading, problem=_cause(error))
        except self.ray.exceptions.RayError as error:
            return _Report(actor, was_loading, problem=_cause(error), is_lost=True)
        if was_loading:
            return _Report(actor, was_loading, problem=result)
        return _Report(actor, was_loading, outcome=result)

    def replace(self, report: _Report) -> None:
        """Start another worker for one that is lost or cannot load the model.

        Raises:
            UserError: Too many have failed to load it.
        """
        if not report.is_lost:
            self.ray.kill(report.actor)
            _log.warning("a worker could not load the model: %s", report.problem)
        self.failures += report.was_loading
        if self.failures >= (LIVES * self._count if self.has_worked else LIVES):
            raise UserError(f"no worker can be started: {report.problem}")
        self.hire()

    def dismiss(self) -> None:
        """End all actors."""
        for actor in (*self.calls.values(), *self.waiting):
            with suppress(Exception):
                self.ray.kill(actor)


def run_parts(
    ray: Any,
    dispatcher: Dispatcher,
    work: Work,
    *,
    workers: int,
    with_gpu: bool = False,
) -> Generator[Outcome, None, None]:
    """Let actors caption all parts, and report each as it is done.

    The part of a lost worker is started again by another. A part lost with several workers is
    reported as a failure.

    Args:
        ray: The module, connected.
        dispatcher: Assigns the parts.
        work: The workers' settings.
        workers: Their number; those without room start once there is some.
        with_gpu: Whether each gets a GPU.

    Raises:
        UserError: Workers cannot be started, or cannot load the model.
    """
    fleet = _Fleet(ray, work, workers, with_gpu)
    try:
        while not dispatcher.is_done:
            for call in fleet.reports():
                report = fleet.report(call)
                if report.is_lost:
                    lost = dispatcher.lose(report.actor)
                    what = f"part {lost.name} is done by another" if lost else "it had no part"
                    _log.info("a worker was lost; %s", what)
                    fleet.replace(report)
                elif report.was_loading:
                    if report.problem:
                        fleet.replace(report)
                        continue
                    _log.debug("a worker is ready")
                    fleet.has_worked = True
                    fleet.waiting.append(report.actor)
                else:
                    fleet.waiting.append(report.actor)
                    part = dispatcher.finish(report.actor, time.monotonic())
                    if part is not None and report.problem:
                        failure = f"part {part.name}: {report.problem}"
                        yield Outcome(part.number, 0, 0, failure)
                    elif part is not None:
                        yield report.outcome
            fleet.waiting = [each for each in fleet.waiting if not _given(fleet, dispatcher, each)]
    finally:
        fleet.dismiss()
    for part in dispatcher.given_up:
        reason = "its worker ended at every attempt; an image may need too much memory"
        yield Outcome(part.number, 0, 0, f"part {part.name}: {reason}")


def _given(fleet: _Fleet, dispatcher: Dispatcher, actor: Any) -> bool:
    part = dispatcher.give(actor, time.monotonic())
    if part is not None:
        fleet.give(actor, part)
    return part is not None


def _cause(error: Any) -> str:
    """The last line of an error: Ray puts its own and the worker's stack before it."""
    lines = str(getattr(error, "cause", None) or error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
