"""Image addresses are visited again, less and less often, and what became of them is written down."""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.database.links import RECHECK_DAYS, LinkState
from pipeline.datasets.lake import open_lake
from pipeline.domain.identifiers import image_id
from pipeline.images.recheck import plan_recheck, publish_recheck, recheck_batch, start_recheck
from pipeline.settings import Settings
from tests.conftest import NOW
from tests.integration.pictures import (
    HTML,
    RUN,
    Command,
    ImageHost,
    Page,
    do_images,
    heavy,
    image_host,
    images_of,
    jpeg,
    link,
    links_in,
    record,
    rows_of,
    settings_of,
    shards_in,
    stored,
    verdicts,
    without,
    write_run,
)

PLACEHOLDER = 50
NAMES = ("same", "moved", "closed", "barred", "gone", "placeholder", "page", "down", "changed", "tiny")
STATES = {
    "same": "ok",
    "moved": "moved",
    "closed": "forbidden",
    "barred": "forbidden",
    "gone": "gone",
    "placeholder": "placeholder",
    "page": "unusable",
    "down": "unreachable",
    "changed": "ok",
    "tiny": "unusable",
}


@pytest.fixture
def host() -> Iterator[ImageHost]:
    with image_host() as server:
        yield server


@pytest.fixture
def settings(host: ImageHost, tmp_path: Path) -> Settings:
    return settings_of(tmp_path / "var", host.names, placeholder_records=3)


def day(days: float) -> datetime:
    return NOW + timedelta(days=days)


def recheck(settings: Settings, days: float, *, run_id: str = "") -> tuple[str, dict[str, Any]]:
    """A whole re-check so many days after the first enrichment; its run and its report."""
    run = start_recheck(run_id=run_id or f"recheck-{days}", now=day(days), settings=settings)
    results = [recheck_batch(batch, settings=settings) for batch in plan_recheck(run, settings=settings)]
    report: dict[str, Any] = open_lake(settings).read_json(publish_recheck(run, results, settings=settings))
    return run, report


def checked(settings: Settings, days: float, **options: str) -> list[dict[str, Any]]:
    """The rows that a re-check writes."""
    return rows_of(settings, recheck(settings, days, **options)[0], "link_checks")


def name_of(row: dict[str, Any]) -> str:
    return str(row["record_id"]).rpartition("/")[2]


def enriched(host: ImageHost, settings: Settings) -> list[dict[str, Any]]:
    """Records with a good picture each, enriched for the first time; the host's placeholder is known, too."""
    records = [record(f"/1/{name}", host.draw(f"/{name}", number)) for number, name in enumerate(NAMES)]
    images_of(settings, records)
    images_of(settings, with_placeholder(host), run_id="placeholders", days=4)
    host.forget()
    return records


def with_placeholder(host: ImageHost) -> list[dict[str, Any]]:
    """As many records with one look as make it a placeholder."""
    records = []
    for number in range(3):
        path = f"/none-{number}"
        host.pages[path] = Page(heavy(jpeg(PLACEHOLDER), 65_536 * (number + 1)), etag=f'"none-{number}"')
        records.append(record(f"/2/none-{number}", host.url(path)))
    return records


def change(host: ImageHost) -> dict[str, Page]:
    """Each page changes its mind in its own way; returns what they were before."""
    before = dict(host.pages)
    host.robots = "User-agent: *\nDisallow: /barred\n"
    host.pages |= {
        "/moved": Page(status=301, headers={"Location": "/moved-on"}),
        "/moved-on": Page(status=308, headers={"Location": "/moved-at-last"}),
        "/moved-at-last": host.pages["/moved"],
        "/closed": Page(status=403),
        "/gone": Page(status=404),
        "/placeholder": Page(heavy(jpeg(PLACEHOLDER), 65_536 * 9), etag='"none-9"'),
        "/page": Page(HTML, etag='"page"'),
        "/down": Page(status=500, headers={"Retry-After": "0"}),
        "/changed": Page(jpeg(300), etag='"v300"'),
        "/tiny": Page(jpeg(301, 8, 8), etag='"v301"'),
    }
    return before


# --- What stands how ---


def test_every_address_ends_in_the_state_that_its_host_shows(host: ImageHost, settings: Settings) -> None:
    enriched(host, settings)
    change(host)
    run, report = recheck(settings, 8)
    rows = {name_of(row): row for row in rows_of(settings, run, "link_checks")}
    assert {name: row["state"] for name, row in rows.items()} == STATES
    assert {row["state_before"] for row in rows.values()} == {"ok"}
    assert rows["changed"]["changed"]
    assert not any(rows[name]["changed"] for name in ("same", "moved", "closed", "barred", "gone", "down"))
    assert {name: link(settings, f"/1/{name}", host.url(f"/{name}")).state for name in NAMES} == STATES
    assert rows["moved"]["final_url"] == host.url("/moved-at-last")
    counts = report["counts"]
    assert counts["inputs"] == len(NAMES) == counts["ok"] + sum(counts["reasons"].values())
    assert {name: counts["extra"][f"now_{name}"] for name in set(STATES.values())} == Counter(STATES.values())
    (states,) = report["states"].values()
    assert states == Counter(STATES.values()) + Counter(placeholder=3)


def test_an_unchanged_picture_costs_a_conditional_request(host: ImageHost, settings: Settings) -> None:
    enriched(host, settings)
    rows = checked(settings, 8)
    assert {row["state"] for row in rows} == {"ok"} and not any(row["changed"] for row in rows)
    assert Counter(asked.status for asked in host.asked if asked.path != "/robots.txt") == {304: len(NAMES)}
    assert host.sent == 0 and {row["status"] for row in rows} == {200}


def test_a_re_check_stores_no_picture_and_leaves_the_verdict_of_the_run_alone(host: ImageHost, settings: Settings) -> None:
    enriched(host, settings)
    shards, before = shards_in(settings), rows_of(settings, "runs/run=night/run.json")
    change(host)
    checked(settings, 8)
    assert shards_in(settings) == shards
    assert rows_of(settings, "runs/run=night/run.json") == before


def test_a_changed_picture_is_fetched_anew_by_the_next_enrichment(host: ImageHost, settings: Settings) -> None:
    records = enriched(host, settings)
    first = {name_of(row): row for row in rows_of(settings, "runs/run=night/run.json")}
    host.draw("/changed", 300)
    checked(settings, 8)
    host.forget()
    rows = {name_of(row): row for row in images_of(settings, records, run_id="next", days=9)}
    assert host.statuses("/changed") == [200] and host.sent == len(jpeg(300))
    assert rows["changed"]["image_id"] == image_id(jpeg(300))
    assert len(stored(settings, rows["changed"])) == rows["changed"]["shard_size"]
    assert without([rows["same"]], *RUN) == without([first["same"]], *RUN)


def test_what_comes_back_is_ok_again(host: ImageHost, settings: Settings) -> None:
    """The very pages of the first night, ETags and all."""
    enriched(host, settings)
    before = change(host)
    checked(settings, 8)
    host.pages, host.robots = before, ""
    rows = {name_of(row): row for row in checked(settings, 300) if row["record_id"].startswith("/1/")}
    assert {name: (row["state"], row["reason"]) for name, row in rows.items()} == dict.fromkeys(NAMES, ("ok", None))
    assert {name: row["state_before"] for name, row in rows.items()} == STATES


def test_an_enrichment_after_everything_came_back_has_the_rows_of_the_first(host: ImageHost, settings: Settings) -> None:
    records = enriched(host, settings)
    first, shards = rows_of(settings, "runs/run=night/run.json"), shards_in(settings)
    before = change(host)
    checked(settings, 8)
    host.pages, host.robots = before, ""
    key = write_run(settings, records, run_id="next", days=20)
    do_images(settings, key)
    rows = rows_of(settings, key)
    assert {name_of(row): (row["outcome"], row["reason"]) for row in rows} == {
        name_of(row): (row["outcome"], row["reason"]) for row in first
    }
    assert without(rows, *RUN) == without(first, *RUN)
    assert shards_in(settings) == shards
    assert rows_of(settings, key, "outcomes/stage=images") == []


def test_an_address_that_shows_a_placeholder_for_a_while_makes_no_placeholder_of_its_picture(
    host: ImageHost, settings: Settings
) -> None:
    enriched(host, settings)
    change(host)
    checked(settings, 8)
    host.pages["/twin"] = Page(heavy(jpeg(NAMES.index("placeholder")), 65_536 * 3))
    (row,) = images_of(settings, [record("/5/twin", host.url("/twin"))], run_id="next", days=9)
    assert (row["outcome"], row["reason"]) == ("ok", None)


# --- When ---


def test_only_what_is_due_is_visited(host: ImageHost, settings: Settings) -> None:
    images_of(settings, [record("/1/early", host.draw("/early", 1))])
    images_of(settings, [record("/1/late", host.draw("/late", 2))], run_id="later", days=5)
    assert checked(settings, 6.9) == []
    assert [name_of(row) for row in checked(settings, 8)] == ["early"]
    assert [name_of(row) for row in checked(settings, 13)] == ["late"]


def test_what_has_waited_longest_comes_first_and_one_run_visits_only_so_many(host: ImageHost, settings: Settings) -> None:
    settings.rechecks_per_run = 2
    for number, name in enumerate(("c", "a", "b")):
        images_of(settings, [record(f"/1/{name}", host.draw(f"/{name}", number))], run_id=name, days=number)
    assert sorted(name_of(row) for row in checked(settings, 30)) == ["a", "c"]
    assert [name_of(row) for row in checked(settings, 31)] == ["b"]
    assert checked(settings, 32) == []


def test_many_addresses_are_several_batches(host: ImageHost, settings: Settings) -> None:
    images_of(settings, [record(f"/1/{number}", host.draw(f"/{number}", number)) for number in range(5)])
    settings.images_per_batch = 2
    run, report = recheck(settings, 8)
    assert (report["counts"]["inputs"], report["datasets"]) == (5, {"link_checks": 5})
    assert [part.rows for part in open_lake(settings).parts(open_lake(settings).run(run), "link_checks")] == [2, 2, 1]


def next_in(settings: Settings, days: float) -> float:
    """In how many days the only address is due again."""
    (row,) = links_in(settings)
    return float((row["next_check_at"] - day(days)) / timedelta(days=1))


def test_the_time_between_checks_grows_while_nothing_changes_and_begins_anew_when_it_does(
    host: ImageHost, settings: Settings
) -> None:
    images_of(settings, [record("/1/a", host.draw("/a", 1))])
    now, seen = 0.0, [next_in(settings, 0)]
    for _ in range(7):
        now += seen[-1]
        (row,) = checked(settings, now)
        seen.append(next_in(settings, now))
    assert seen == [7, 14, 30, 60, 120, 180, 180, 180] == [*RECHECK_DAYS[LinkState.OK], 180, 180]
    good, host.pages = dict(host.pages), {}
    broken = []
    for _ in range(3):
        now += [*seen, *broken][-1]
        assert [row["state"] for row in checked(settings, now)] == ["gone"]
        broken.append(next_in(settings, now))
    assert broken == [3, 14, 60]
    host.pages = good
    now += broken[-1]
    assert [(row["state_before"], row["state"]) for row in checked(settings, now)] == [("gone", "ok")]
    assert next_in(settings, now) == 7


def test_a_batch_that_is_done_twice_counts_once(host: ImageHost, settings: Settings) -> None:
    enriched(host, settings)
    change(host)
    run = start_recheck(run_id="twice", now=day(8), settings=settings)
    (batch,) = plan_recheck(run, settings=settings)
    result = recheck_batch(batch, settings=settings)
    once = links_in(settings)
    lake = open_lake(settings)
    (part,) = lake.read_json(result)["parts"]["link_checks"]
    rows = [row for group in lake.part_rows(part["key"]) for row in group.to_pylist()]
    lake.store.delete(result)  # as if the task had been killed before its end
    publish_recheck(run, [recheck_batch(batch, settings=settings)], settings=settings)
    assert links_in(settings) == once
    assert rows_of(settings, run, "link_checks") == rows


def test_a_finished_batch_is_not_visited_again(host: ImageHost, settings: Settings) -> None:
    enriched(host, settings)
    run = start_recheck(run_id="once", now=day(8), settings=settings)
    (batch,) = plan_recheck(run, settings=settings)
    recheck_batch(batch, settings=settings)
    host.forget()
    recheck_batch(batch, settings=settings)
    assert host.asked == []


def test_an_enrichment_counts_as_a_check(host: ImageHost, settings: Settings) -> None:
    records = [record("/1/a", host.draw("/a", 1))]
    images_of(settings, records)
    images_of(settings, records, run_id="next", days=6)
    assert checked(settings, 8) == [] and next_in(settings, 6) == 14


def test_a_placeholder_that_was_found_when_a_run_was_published_is_due_when_placeholders_are(
    host: ImageHost, settings: Settings
) -> None:
    images_of(settings, with_placeholder(host))
    (due,) = {row["next_check_at"] for row in links_in(settings)}
    assert due == day(RECHECK_DAYS[LinkState.PLACEHOLDER][0])


# --- The commands ---


def words(command: Command) -> str:
    assert command.code == 0, command.complaints
    return re.sub(r"\s+", " ", command.text)


def test_the_commands_say_what_is_due_what_was_found_and_how_all_addresses_stand(
    host: ImageHost, settings: Settings, tmp_path: Path
) -> None:
    enriched(host, settings)
    folder = tmp_path / "processes"
    due = Command(settings, "images", "recheck", "--dry-run", "--at", "2026-01-10", folder=folder).end()
    assert words(due).startswith("10 addresses are due (RECHECKS_PER_RUN=50,000)") and host.asked == []
    early = Command(settings, "images", "recheck", "--dry-run", "--at", "2026-01-03", folder=folder).end()
    assert words(early).startswith("0 addresses are due")
    change(host)
    done = words(Command(settings, "images", "recheck", "--at", "2026-01-10", folder=folder).end())
    assert (
        done.startswith("10 addresses visited:") and re.search(r"\d changed", done) and "report: runs/run=recheck-2026" in done
    )
    assert all(f"'{state}': {count}" in done for state, count in Counter(STATES.values()).items())
    table = words(Command(settings, "images", "links", folder=folder, COLUMNS="160").end())
    assert "unreachable" in table and f"127.0.0.1:{host.port}" in table and "1 hosts" in table
    wrong = Command(settings, "images", "recheck", "--at", "tomorrow", folder=folder).end()
    assert wrong.code == 2 and "--at 'tomorrow'" in wrong.complaints and "Traceback" not in wrong.complaints


def test_an_empty_database_has_nothing_due_and_nothing_to_show(settings: Settings, tmp_path: Path) -> None:
    assert "0 addresses are due" in words(Command(settings, "images", "recheck", "--dry-run", folder=tmp_path / "a").end())
    assert "0 hosts" in words(Command(settings, "images", "links", folder=tmp_path / "b", COLUMNS="160").end())
    assert verdicts(checked(settings, 1)) == []
