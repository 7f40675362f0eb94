"""Open the database and bring its schema up to date."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from pipeline.errors import CriticalError
from pipeline.settings import PROJECT_ROOT, Settings

MIGRATIONS = PROJECT_ROOT / "sql" / "migrations"
_ONE_THREAD = threading.Lock()  # alembic keeps its context in a global
_MIGRATION_LOCK = 7_341_902  # any constant: PostgreSQL's advisory lock while the schema changes


def connect(settings: Settings) -> Engine:
    """The engine for the settings' database, migrated to the newest schema.

    Raises CriticalError that names DATABASE_URL (without its password) when it cannot be reached.
    """
    return _engine(settings.database_address)


@cache
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


def _migrate(engine: Engine) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    newest = ScriptDirectory.from_config(config).get_current_head()
    with engine.connect() as connection:
        if MigrationContext.configure(connection).get_current_revision() == newest:
            return
    with _ONE_THREAD, engine.connect() as connection, _one_process(connection):
        if MigrationContext.configure(connection).get_current_revision() != newest:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


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
