"""Open the database and bring its schema up to date."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from pipeline.errors import CriticalError
from pipeline.settings import PROJECT_ROOT, Settings

MIGRATIONS = PROJECT_ROOT / "sql" / "migrations"
_ONE_THREAD = threading.Lock()  # alembic keeps its context in a global
_MIGRATION_LOCK = 7_341_902  # any constant: PostgreSQL's advisory lock while the schema changes
_WRITE_LOCK = 7_341_903  # another one: for the short transactions of `begin_writing`


def connect(settings: Settings) -> Engine:
    """The engine for the settings' database, migrated to the newest schema.

    Raises CriticalError that names DATABASE_URL (without its password) when it cannot be reached.
    """
    return _engine(settings.database_address)


@lru_cache(maxsize=8)  # a process that works at many databases, one after the other, keeps the files of a few
def _engine(address: str) -> Engine:
    try:
        url = make_url(address)
    except SQLAlchemyError as error:
        raise CriticalError("DATABASE_URL is not an address such as postgresql+psycopg://user:password@host/name") from error
    if url.get_backend_name() == "sqlite" and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, pool_pre_ping=True)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "handle_error", _no_room)
    try:
        _migrate(engine)
    except SQLAlchemyError as error:
        raise CriticalError(f"DATABASE_URL {url.render_as_string(hide_password=True)}: {error}") from error
    return engine


def _prepare_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    """Write-ahead log: readers never wait for the writer; a writer waits up to half a minute for another."""
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=30000", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


@contextmanager
def begin_writing(engine: Engine) -> Iterator[Connection]:
    """A transaction whose reads and writes are one step: SQLite gives its one place for a writer at the beginning.

    On PostgreSQL rows that decide must be read `with_for_update`, or the database serialises by a lock as here.
    """
    if engine.dialect.name == "sqlite":
        # The driver would begin only at the first write, after the reads.
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")
    else:
        with engine.begin() as connection:
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_WRITE_LOCK})"))
            yield connection


def _no_room(context: ExceptionContext) -> None:
    """A full disk is told from other trouble."""
    original = str(context.original_exception)
    if any(words in original for words in ("disk is full", "No space left", "disk I/O error")):
        raise CriticalError(
            f"the database (DATABASE_URL) cannot be written: {original}; free some space and run again"
        ) from None


def _migrate(engine: Engine) -> None:
    """Bring the schema up to date; alembic is imported only where there is something to do."""
    with engine.connect() as connection:
        if _is_newest(connection):
            return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with _ONE_THREAD, engine.connect() as connection, _one_process(connection):
        if not _is_newest(connection):
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _is_newest(connection: Connection) -> bool:
    """A migration's file begins with its revision."""
    newest = max(path.name for path in (MIGRATIONS / "versions").glob("[0-9]*_*.py")).partition("_")[0]
    if not inspect(connection).has_table("alembic_version"):
        return False
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == newest


@contextmanager
def _one_process(connection: Connection) -> Iterator[None]:
    """Workers that start at once must not migrate at once: the transaction begins with a lock."""
    if connection.dialect.name == "sqlite":
        # The driver begins no transaction for DDL by itself.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
    yield
    connection.commit()
