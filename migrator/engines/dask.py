"""The Dask engine: `dask:tcp://HOST:PORT` or `dask:tls://…`, the workers of a Dask cluster that somebody else runs.

1. A task travels as bytes that only a worker of this version opens (`remote`): settings and references to secrets.
2. Whatever the cluster does to a task (worker killed, scheduler lost, connection cut) is `BrokenExecutor`: it may have
   been done in part, in whole, or twice, and the fence of the migrator database sorts that out.
3. An executor lives as long as its connection to the scheduler: after another connection nothing is known of the
   tasks that went through the one before.

TLS and timeouts are the `distributed` package's own settings (`DASK_DISTRIBUTED__COMM__…`).
"""

import contextlib
import logging
import pickle
import re
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, wait
from functools import partial
from typing import Any, Final, TypeVar

from distributed import Client

from migrator import __version__
from migrator.core.errors import ConfigError, ExitStatus, MigratorError
from migrator.engines import remote

_T = TypeVar("_T")
_ADDRESS = re.compile(r"(tcp|tls)://[^\s/@]+:\d{1,5}\Z")
_CONNECT_SECONDS: Final = 5.0
_ASK_SECONDS: Final = 5.0
"""How long a question to the scheduler may take."""
_COUNT_EVERY_SECONDS: Final = 1.0
_RELEASE_SECONDS: Final = 10.0


class ClusterUnavailableError(MigratorError):
    """No scheduler answers at the engine's address."""

    code = "cluster"
    exit_status = ExitStatus.SERVICE_DOWN


class WorkerRefusedError(MigratorError):
    """A worker of the cluster can't work on this campaign: it has another migrator, or none."""

    code = "worker_refused"
    exit_status = ExitStatus.SERVICE_DOWN


class WorkerBugError(RuntimeError):
    """A worker met what is a bug in migrator: its kind and place."""


class DaskEngine:
    """The workers of a Dask cluster, all of them or at most as many as asked for."""

    def __init__(self, address: str, workers: int = 0) -> None:
        if not _ADDRESS.match(address):
            raise ConfigError(
                "execution.engine: not the address of a Dask scheduler",
                hint="it reads like dask:tcp://host:8786 or dask:tls://host:8786",
            )
        self._address = address
        self._limit = workers
        self._executor: DaskExecutor | None = None
        self._reached = False
        self._counted = 0
        self._counted_at = float("-inf")

    @property
    def workers(self) -> int:
        """How many workers the scheduler knows at this moment; 0 while it is away."""
        if time.monotonic() - self._counted_at >= _COUNT_EVERY_SECONDS:
            self._counted = self._count()
            self._counted_at = time.monotonic()
        return min(self._counted, self._limit) if self._limit else self._counted

    def executor(self) -> Executor:
        """The executor of the present connection to the scheduler."""
        if self._executor is None or not self._executor.whole():
            self._executor = None
            self._executor = DaskExecutor(self._connect())
        return self._executor

    def _count(self) -> int:
        try:
            if self._executor is not None and self._executor.whole():
                return self._executor.count_workers()
            with self._connect() as client:
                return _count_workers(client)
        except BrokenExecutor as error:
            if not self._reached:
                raise ClusterUnavailableError(
                    f"no Dask scheduler answers at {self._address}",
                    hint="start it, or check execution.engine, the network and, for tls://, the certificates",
                ) from error
            return 0

    def _connect(self) -> Client:
        # What it would tell about lost connections is told by the coordinator, once.
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
        try:
            client = Client(self._address, timeout=_CONNECT_SECONDS, set_as_default=False, name="migrator")
        except (
            OSError,
            TypeError,
            ValueError,
            RuntimeError,
        ) as error:  # distributed: TLS without certificates is a TypeError
            raise BrokenExecutor(f"no scheduler answers ({type(error).__name__})") from error
        self._reached = True
        return client


class DaskExecutor(Executor):
    """`Client.get_executor()`, whose futures end with a result, an error of ours, or `BrokenExecutor`; but they end."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._connection = client.scheduler_comm
        self._inner = client.get_executor(pure=False)
        self._lock = threading.Lock()
        self._outstanding: dict[Future[Any], tuple[str, Future[Any]]] = {}

    def whole(self) -> bool:
        """Whether it still has the connection it began with; where not, all that was outstanding is lost."""
        if self._client.status == "running" and self._client.scheduler_comm is self._connection:
            return True
        for future in self._taken():
            future.set_exception(BrokenExecutor("the connection to the scheduler was lost"))
        self._close()
        return False

    def count_workers(self) -> int:
        """How many workers the scheduler has."""
        return _count_workers(self._client)

    def submit(self, function: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        """Send a task; `BrokenExecutor` where there is no scheduler to send it to."""
        outer: Future[_T] = Future()
        outer.set_running_or_notify_cancel()
        key = f"migrator-{uuid.uuid4()}"
        if not self.whole():
            raise BrokenExecutor("the connection to the scheduler was lost")
        inner = self._inner.submit(remote.perform, __version__, remote.pack(function, args, kwargs), key=key)
        with self._lock:
            self._outstanding[outer] = key, inner
        inner.add_done_callback(partial(self._ended, outer))
        return outer

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End it: with `cancel_futures`, what no worker has begun is dropped."""
        if self.whole():
            if cancel_futures:
                self._drop_waiting()
            if wait:
                self._wait()
            telling = threading.Thread(target=self._release, daemon=True)
            telling.start()
            telling.join(_RELEASE_SECONDS)
        for future in self._taken():
            future.set_exception(BrokenExecutor("the executor was shut down"))
        self._close()

    def _ended(self, outer: Future[Any], inner: Future[Any]) -> None:
        with self._lock:
            if self._outstanding.pop(outer, None) is None:
                return
        if inner.cancelled():
            outer.set_exception(BrokenExecutor("the scheduler gave the task up"))
            return
        error = inner.exception()
        if error is not None:
            outer.set_exception(_translated(error))
            return
        kind, answer, where = inner.result()
        if kind == remote.RESULT:
            outer.set_result(pickle.loads(answer))  # noqa: S301 - from a worker, which runs our code with our keys
        elif kind == remote.ERROR:
            outer.set_exception(pickle.loads(answer))  # noqa: S301 - the same
        elif kind == remote.OTHER_VERSION:
            outer.set_exception(_other_version(answer, where))
        else:
            outer.set_exception(WorkerBugError(f"{answer} (worker {where})"))

    def _taken(self) -> list[Future[Any]]:
        with self._lock:
            taken = list(self._outstanding)
            self._outstanding.clear()
        return taken

    def _close(self) -> None:
        with contextlib.suppress(TimeoutError):
            self._client.close(timeout=_ASK_SECONDS)

    def _drop_waiting(self) -> None:
        with self._lock:
            keys = {key: outer for outer, (key, _) in self._outstanding.items()}
        try:
            stacks = _ask(self._client, "call_stack", keys=None)
        except BrokenExecutor:
            return
        begun = {key for worker in stacks.values() for key in worker}
        for key, outer in keys.items():
            with self._lock:
                found = self._outstanding.pop(outer, None) if key not in begun else None
            if found is not None:
                outer.set_exception(BrokenExecutor("it had not begun when the executor was shut down"))
                found[1].cancel()

    def _release(self) -> None:
        with contextlib.suppress(Exception):  # a worker that can't be told forgets when it begins with another run
            self._client.run(remote.release, on_error="ignore")

    def _wait(self) -> None:
        while self.whole():
            with self._lock:
                left = list(self._outstanding)
            if not left or not wait(left, timeout=1.0).not_done:
                return


def _count_workers(client: Client) -> int:
    return int(_ask(client, "identity", n_workers=0)["n_workers"])


def _ask(client: Client, operation: str, **arguments: object) -> Any:
    """What the scheduler answers; `BrokenExecutor` where it does not in time."""
    try:
        return client.sync(getattr(client.scheduler, operation), callback_timeout=_ASK_SECONDS, **arguments)
    except (OSError, TimeoutError) as error:
        raise BrokenExecutor("the scheduler does not answer") from error


def _other_version(theirs: str, where: str) -> WorkerRefusedError:
    return WorkerRefusedError(
        f"worker {where} has migrator {theirs}, and this is migrator {__version__}",
        hint="install the same version on every machine of the cluster, and start its workers again",
    )


def _translated(error: BaseException) -> Exception:
    """What went wrong on the way of a task: no answer of ours, as `remote.perform` raises nothing."""
    if "deserialization" in str(error):
        return WorkerRefusedError(
            "the cluster's scheduler can't load migrator",
            hint=f"install migrator {__version__} with its extras where the scheduler and the workers run",
        )
    return BrokenExecutor(f"the task was lost ({type(error).__name__})")
