"""The operational database: its schema, the publication ledger and the registry of models."""

import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, inspect, text

from pipeline.database import connect, ledger, models, tombstones
from pipeline.database.ledger import Settled, State, Statement
from pipeline.database.tables import metadata
from pipeline.errors import CriticalError
from pipeline.settings import Settings

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
EUROPEANA = "europeana"
LEASE = timedelta(hours=6)
# What the migration tool keeps for itself.
BOOKKEEPING = {"alembic_version", "migration_lock"}


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return connect(Settings(_env_file=None, database_url=f"sqlite:///{tmp_path / 'state' / 'x.db'}"))


def statement(number: int, target: str = EUROPEANA) -> Statement:
    return Statement(
        record_id=f"/1/{number:04d}",
        concept_uri="http://data.europeana.eu/concept/47",
        target=target,
        body_uri="http://www.wikidata.org/entity/Q3305213",
        canonical=f"urn:uuid:{number}-{target}",
        score=0.97,
        model_name="default",
        model_version="1",
        run_id="r1",
    )


def plan(engine: Engine, count: int, target: str = EUROPEANA) -> tuple[int, int]:
    return ledger.plan(engine, (statement(number, target) for number in range(count)), now=NOON)


def assign(engine: Engine, run_id: str = "r1", *, at: datetime = NOON, count: int = 1000, size: int = 1000) -> list[str]:
    """Batches of the first so many statements, held by a run."""
    keys = ((statement(number).record_id, statement(number).concept_uri) for number in range(count))
    return ledger.assign(engine, keys, target=EUROPEANA, run_id=run_id, size=size, lease=LEASE, now=at)


def claim(engine: Engine, batch: str, limit: int = 1000, after: int = 0) -> list[int]:
    return [row["id"] for row in ledger.claim(engine, batch, after=after, limit=limit, now=NOON)]


# --- Schema ---


def test_the_migrations_make_exactly_the_tables_that_the_code_sees(engine: Engine) -> None:
    found = inspect(engine)
    assert set(found.get_table_names()) - BOOKKEEPING == set(metadata.tables)
    for name, table in metadata.tables.items():
        columns = {column["name"]: column for column in found.get_columns(name)}
        assert list(columns) == [column.name for column in table.columns], name
        for column in table.columns:
            there = columns[column.name]
            assert there["nullable"] == column.nullable, f"{name}.{column.name}"
            assert type(there["type"]).__name__.upper() == column.type.compile(engine.dialect).split("(")[0], column.name
            assert getattr(there["type"], "length", None) == getattr(column.type, "length", None), column.name
        assert found.get_pk_constraint(name)["constrained_columns"] == [column.name for column in table.primary_key]
        unique = {one["name"]: one["column_names"] for one in found.get_unique_constraints(name)}
        assert unique == {
            str(one.name): [column.name for column in one.columns]
            for one in table.constraints
            if type(one).__name__ == "UniqueConstraint"
        }
        indexes = {one["name"]: one["column_names"] for one in found.get_indexes(name)}
        assert indexes == {str(one.name): [column.name for column in one.columns] for one in table.indexes}


def test_connecting_again_finds_the_same_rows(engine: Engine) -> None:
    plan(engine, 3)
    from pipeline.database.connection import _engine

    _engine.cache_clear()
    again = connect(Settings(_env_file=None, database_url=engine.url.render_as_string()))
    assert len(ledger.find(again, EUROPEANA, [statement(number).record_id for number in range(3)])) == 3


def test_sqlite_readers_do_not_wait_for_the_writer(engine: Engine) -> None:
    with engine.connect() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(text("PRAGMA busy_timeout")) == 30_000


def test_a_database_that_cannot_be_opened_is_one_message_that_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"this is no database, but long enough to look like one " * 50)
    with pytest.raises(CriticalError, match="DATABASE_URL"):
        connect(Settings(_env_file=None, database_url=f"sqlite:///{tmp_path / 'x.db'}"))


# --- Ledger ---


def test_planning_again_adds_only_what_is_new(engine: Engine) -> None:
    assert plan(engine, 700) == (700, 0)
    assert plan(engine, 700) == (0, 700)
    assert plan(engine, 705) == (5, 700)
    assert plan(engine, 2, target="with") == (2, 0)
    assert plan(engine, 0) == (0, 0)


def test_planning_again_never_changes_what_is_known_of_a_statement(engine: Engine) -> None:
    plan(engine, 1)
    (batch,) = assign(engine)
    (claimed,) = claim(engine, batch)
    ledger.settle(engine, batch, [Settled(claimed, State.SENT, "http://data.europeana.eu/annotation/7")], now=NOON)
    ledger.plan(engine, [replace(statement(0), score=0.1, run_id="r2", model_version="2")], now=NOON)
    (row,) = ledger.find(engine, EUROPEANA, ["/1/0000"])
    assert (row["state"], row["run_id"], row["score"]) == ("sent", "r1", 0.97)
    assert row["remote_id"] == "http://data.europeana.eu/annotation/7"
    assert assign(engine, "r2") == []


def test_the_same_statement_twice_in_one_plan_is_one_row(engine: Engine) -> None:
    assert ledger.plan(engine, [statement(1), statement(1)], now=NOON) == (1, 1)


def test_eight_workers_claim_every_row_exactly_once(engine: Engine) -> None:
    plan(engine, 400)
    (batch,) = assign(engine)

    def work(_: int) -> list[int]:
        mine: list[int] = []
        while ids := claim(engine, batch, limit=7):
            mine += ids
        return mine

    with ThreadPoolExecutor(8) as workers:
        taken = Counter(identifier for ids in workers.map(work, range(8)) for identifier in ids)
    assert len(taken) == 400 and set(taken.values()) == {1}
    assert {row["attempts"] for row in ledger.interrupted(engine, batch)} == {1}


def test_a_run_gets_its_open_statements_in_batches_and_no_others(engine: Engine) -> None:
    plan(engine, 10)
    plan(engine, 10, target="with")
    batches = assign(engine, count=5, size=2)
    assert [len(claim(engine, batch)) for batch in batches] == [2, 2, 1]
    assert claim(engine, batches[0]) == []


def test_claims_go_forward_so_that_a_row_that_is_put_off_holds_up_nobody(engine: Engine) -> None:
    plan(engine, 5)
    (batch,) = assign(engine)
    first, second = claim(engine, batch, limit=2)
    ledger.settle(engine, batch, [Settled(first, State.PLANNED, error="locked")], now=NOON)
    rest = claim(engine, batch, after=second)
    assert len(rest) == 3 and first not in rest
    assert claim(engine, batch) == [first]
    assert ledger.find(engine, EUROPEANA, ["/1/0000"])[0]["attempts"] == 2


def test_what_one_run_holds_another_leaves_alone_until_the_lease_is_over(engine: Engine) -> None:
    plan(engine, 3)
    (held,) = assign(engine, "night")
    assert assign(engine, "other") == []
    (taken,) = assign(engine, "other", at=NOON + LEASE + timedelta(minutes=1))
    assert claim(engine, held) == [] and len(claim(engine, taken)) == 3


def test_the_same_run_takes_over_what_it_held_when_it_was_cut_off(engine: Engine) -> None:
    plan(engine, 3)
    (first,) = assign(engine, "night")
    claimed = claim(engine, first, limit=2)
    (again,) = assign(engine, "night", at=NOON + timedelta(seconds=1))
    assert [row["id"] for row in ledger.interrupted(engine, again)] == claimed
    assert len(claim(engine, again)) == 1


def test_a_worker_whose_batch_was_taken_over_changes_nothing_any_more(engine: Engine) -> None:
    plan(engine, 1)
    (old,) = assign(engine, "night")
    (row,) = claim(engine, old)
    (new,) = assign(engine, "night", at=NOON + timedelta(seconds=1))
    ledger.settle(engine, new, [Settled(row, State.SENT, "a/1")], now=NOON)
    ledger.settle(engine, old, [Settled(row, State.PLANNED, error="late")], now=NOON)
    assert ledger.find(engine, EUROPEANA, ["/1/0000"])[0]["state"] == "sent"


def test_a_claimed_row_is_interrupted_until_it_is_settled(engine: Engine) -> None:
    plan(engine, 3)
    (batch,) = assign(engine)
    one, two, three = claim(engine, batch)
    assert [row["id"] for row in ledger.interrupted(engine, batch)] == [one, two, three]
    ledger.settle(engine, batch, [Settled(one, State.SENT, "a/1"), Settled(two, State.REFUSED, error="no " * 400)], now=NOON)
    assert [row["id"] for row in ledger.interrupted(engine, batch)] == [three]
    assert ledger.open_records(engine, batch) == ["/1/0002"]
    refused = ledger.find(engine, EUROPEANA, ["/1/0001"])[0]
    assert (refused["state"], refused["remote_id"], len(refused["last_error"])) == ("refused", None, 500)


def test_settling_without_a_remote_id_keeps_the_one_that_is_known(engine: Engine) -> None:
    plan(engine, 1)
    (batch,) = assign(engine)
    (identifier,) = claim(engine, batch)
    ledger.settle(engine, batch, [Settled(identifier, State.SENT, "a/1")], now=NOON)
    ledger.settle(engine, batch, [Settled(identifier, State.SENT)], now=NOON)
    assert ledger.find(engine, EUROPEANA, ["/1/0000"])[0]["remote_id"] == "a/1"


# From → to: what a plan may do with a row; it stays as it is on every other way.
WAYS = {
    ("planned", "planned"),
    ("planned", "held"),
    ("held", "planned"),
    ("held", "held"),
    ("sent", "sent"),
    ("sent", "updating"),
    ("updating", "updating"),
    *((state, "retracting") for state in ("sending", "sent", "updating", "retracting")),
}


@pytest.mark.parametrize("before", State)
def test_a_plan_moves_a_row_only_along_known_ways(engine: Engine, before: State) -> None:
    for number, after in enumerate((State.PLANNED, State.HELD, State.SENT, State.UPDATING, State.RETRACTING)):
        ledger.plan(engine, [statement(number)], now=NOON)
        identity = ledger.find(engine, EUROPEANA, [statement(number).record_id])[0]["id"]
        assert ledger.correct(engine, identity, before, "a/1", before=State.PLANNED, why="", now=NOON)
        newer = replace(statement(number), model_version="2", score=0.5)
        ledger.bring(engine, after, [(newer, "because")], now=NOON + timedelta(hours=1))
        row = ledger.row(engine, identity)
        assert row is not None
        if (before, after) not in WAYS:
            assert (row["state"], row["model_version"], row["last_error"]) == (before, "1", "")
        else:
            assert (row["state"], row["last_error"]) == (after, "because")
            assert row["model_version"] == ("1" if after is State.RETRACTING else "2")
            # A lease runs from the last thing that happened: being planned once more is nothing.
            assert row["updated_at"] == (NOON if before == after else NOON + timedelta(hours=1))


def test_what_is_withdrawn_is_lost_to_whoever_was_about_to_send_it(engine: Engine) -> None:
    plan(engine, 4)
    plan(engine, 1, target="elsewhere")
    (batch,) = assign(engine)
    sending, sent = claim(engine, batch, limit=2)
    ledger.settle(engine, batch, [Settled(sent, State.SENT, "a/1")], now=NOON)
    choice = ledger.Choice(model_name="default", model_version="1")
    assert ledger.begin_withdrawal(engine, choice, [EUROPEANA], batch="w", why="bad", now=NOON) == (2, 2)
    assert claim(engine, batch) == []
    late = Settled(sending, State.SENT, "a/2", created=True)
    assert ledger.settle(engine, batch, [late], now=NOON) == [late]
    gone = [Settled(one, State.WITHDRAWN) for one in (sending, sent)]
    assert ledger.settle(engine, "w", gone, now=NOON, before=(State.WITHDRAWING,)) == []
    counts = {(row["target"], row["state"]): row["statements"] for row in ledger.tally(engine, choice)}
    assert counts == {("elsewhere", "planned"): 1, (EUROPEANA, "withdrawn"): 4}
    withdrawn = ledger.row(engine, sent)
    assert withdrawn is not None and withdrawn["remote_id"] is None
    # Planning does not bring it back; a person may.
    plan(engine, 4)
    assert assign(engine, "r2") == []
    assert ledger.allow_again(engine, choice, now=NOON) == 4
    plan(engine, 4)
    assert len(claim(engine, assign(engine, "r2")[0])) == 4


def test_what_is_withdrawn_while_a_run_takes_its_statements_is_not_taken_from_the_withdrawal(engine: Engine) -> None:
    plan(engine, 600)
    (batch,) = assign(engine, count=600)
    claimed = claim(engine, batch)
    ledger.settle(engine, batch, [Settled(one, State.PLANNED) for one in claimed], now=NOON)
    choice = ledger.Choice(record_id="/1/0000")
    assert ledger.correct(engine, claimed[0], State.SENDING, None, before=State.PLANNED, why="", now=NOON)

    def keys():
        for number in range(600):
            yield statement(number).record_id, statement(number).concept_uri
        assert ledger.begin_withdrawal(engine, choice, [EUROPEANA], batch="w", why="bad", now=NOON) == (1, 0)

    (again,) = ledger.assign(engine, keys(), target=EUROPEANA, run_id="r1", size=1000, lease=LEASE, now=NOON)
    assert [row["id"] for row in ledger.in_states(engine, "w", (State.WITHDRAWING,))] == [claimed[0]]
    assert len(claim(engine, again)) == 599


def test_what_was_taken_back_while_it_was_sent_is_to_be_deleted_under_its_id(engine: Engine) -> None:
    plan(engine, 3)
    (batch,) = assign(engine)
    withdrawn, held, sent = claim(engine, batch)
    for identity, state in ((withdrawn, State.WITHDRAWN), (held, State.HELD), (sent, State.SENT)):
        ledger.settle(engine, batch, [Settled(identity, state, "a/0")], now=NOON)
    states = [ledger.take_back(engine, one, f"a/{one}", batch, now=NOON) for one in (withdrawn, held, sent, 99)]
    assert states == [State.WITHDRAWING, State.RETRACTING, None, None]
    rows = {row["id"]: (row["state"], row["remote_id"]) for row in ledger.in_states(engine, batch, tuple(State))}
    assert rows == {withdrawn: ("withdrawing", f"a/{withdrawn}"), held: ("retracting", f"a/{held}")}
    left = ledger.row(engine, sent)
    assert left is not None and (left["state"], left["remote_id"]) == ("sent", "a/0")


def test_forgetting_leaves_only_what_still_stands_somewhere(engine: Engine) -> None:
    plan(engine, 3)
    (batch,) = assign(engine)
    first, _ = claim(engine, batch, limit=2)
    ledger.settle(engine, batch, [Settled(first, State.DUPLICATE, "a/1")], now=NOON)
    assert ledger.forget(engine, ledger.Choice(model_name="default")) == 1
    assert [row["state"] for row in ledger.interrupted(engine, batch)] == ["sending"]


@pytest.mark.parametrize(
    ("said", "records"),
    [
        ({"provider": "Archive"}, 2),
        ({"provider": "Aggregator"}, 3),
        ({"provider": "Aggregator", "record_id": "/1/0001"}, 1),
        ({"run_id": "r1"}, 4),
        ({"model_name": "other"}, 0),
        ({"concept_uri": "http://data.europeana.eu/concept/47", "model_version": "1", "model_name": "default"}, 4),
    ],
)
def test_a_choice_takes_what_fits_everything_that_is_said(engine: Engine, said: dict[str, str], records: int) -> None:
    of = [("Aggregator", "Archive"), ("Aggregator", "Archive"), ("Aggregator", "Museum"), ("", "")]
    statements = [replace(statement(number), provider=one, data_provider=two) for number, (one, two) in enumerate(of)]
    ledger.plan(engine, statements, now=NOON)
    assert len(ledger.records_of(engine, ledger.Choice(**said))) == records


def test_a_providers_tombstone_comes_and_goes_with_those_of_its_records(engine: Engine) -> None:
    tombstones.put(engine, tombstones.RECORD, "/1/a", why="a letter", now=NOON)
    tombstones.put_provider(engine, "Archive", ["/1/b", "/1/a"], why="another", now=NOON)
    standing = tombstones.standing(engine)
    assert standing.records == {"/1/a", "/1/b"}
    assert standing.holds("/9/z", "Aggregator", "Archive") and not standing.holds("/9/z", "Aggregator", "")
    assert tombstones.lift(engine, tombstones.PROVIDER, "Archive")
    assert tombstones.standing(engine).records == {"/1/a"}
    assert not tombstones.lift(engine, tombstones.PROVIDER, "Archive")


def test_times_come_back_in_utc_whatever_the_zone_of_the_machine(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        plan(engine, 1)
        assert ledger.find(engine, EUROPEANA, ["/1/0000"])[0]["created_at"] == NOON
        assert ledger.find(engine, EUROPEANA, ["/1/0000"])[0]["created_at"].utcoffset() == timedelta(0)
    finally:
        monkeypatch.undo()
        time.tzset()


# --- Models ---


def register(engine: Engine, version: int, name: str = "default") -> None:
    models.register(
        engine,
        name=name,
        version=version,
        bundle_key=f"models/{name}/{version}",
        sha256="0" * 64,
        dataset_id="abc",
        metrics={"macro_ap": 0.9},
        now=NOON,
    )


def test_versions_count_from_one_for_each_name(engine: Engine) -> None:
    assert models.reserve(engine, "default", NOON) == 1
    register(engine, 1)
    register(engine, 2)
    assert models.reserve(engine, "default", NOON) == 3
    assert models.reserve(engine, "other", NOON) == 1


def test_a_number_that_was_reserved_is_no_version_and_nobody_else_s(engine: Engine) -> None:
    with ThreadPoolExecutor(4) as threads:
        numbers = list(threads.map(lambda _: models.reserve(engine, "default", NOON), range(12)))
    assert sorted(numbers) == list(range(1, 13))
    assert models.find(engine, "default", 2) is None and models.versions(engine) == []
    with pytest.raises(CriticalError, match="no version 2"):
        models.release(engine, "default", 2)
    register(engine, 2)
    found = models.find(engine, "default", 2)
    assert found is not None and found["status"] == models.REGISTERED and found["metrics"] == {"macro_ap": 0.9}


def test_a_version_is_never_registered_twice(engine: Engine) -> None:
    register(engine, 1)
    with pytest.raises(CriticalError, match="registered already"):
        register(engine, 1)


def test_a_registered_version_is_not_in_force_until_it_is_released(engine: Engine) -> None:
    register(engine, 1)
    assert models.find(engine, "default") is None
    found = models.find(engine, "default", 1)
    assert found is not None and (found["status"], found["metrics"]) == ("registered", {"macro_ap": 0.9})


def test_a_release_retires_the_former_one_and_no_other_models(engine: Engine) -> None:
    for version in (1, 2):
        register(engine, version)
    register(engine, 1, name="other")
    models.release(engine, "other", 1)
    models.release(engine, "default", 1)
    models.release(engine, "default", 2)
    released = models.find(engine, "default")
    assert released is not None and released["version"] == 2
    assert [(row["name"], row["version"], row["status"]) for row in models.versions(engine)] == [
        ("default", 1, "retired"),
        ("default", 2, "released"),
        ("other", 1, "released"),
    ]


def test_a_former_version_can_be_released_again(engine: Engine) -> None:
    for version in (1, 2):
        register(engine, version)
        models.release(engine, "default", version)
    models.release(engine, "default", 1)
    assert [(row["version"], row["status"]) for row in models.versions(engine, "default")] == [(1, "released"), (2, "retired")]


def test_releasing_the_released_version_changes_nothing(engine: Engine) -> None:
    register(engine, 1)
    models.release(engine, "default", 1)
    models.release(engine, "default", 1)
    found = models.find(engine, "default")
    assert found is not None and found["version"] == 1


def test_many_workers_that_start_at_once_migrate_once(tmp_path):
    code = (
        "from pathlib import Path; import sys; from pipeline.settings import Settings; from pipeline.database import connect;"
    )
    code += "connect(Settings(var_dir=Path(sys.argv[1])))"
    workers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.PIPE) for _ in range(4)]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0, 0], [worker.stderr.read() for worker in workers]


def test_releasing_a_version_that_does_not_exist_changes_nothing(tmp_path):
    engine = connect(Settings(var_dir=tmp_path))
    figures = {"bundle_key": "k", "sha256": "s", "dataset_id": "d", "metrics": {}, "now": datetime(2026, 1, 1, tzinfo=UTC)}
    models.register(engine, name="m", version=1, **figures)
    models.release(engine, "m", 1)
    with pytest.raises(CriticalError, match="no version 2"):
        models.release(engine, "m", 2)
    assert models.find(engine, "m")["version"] == 1
