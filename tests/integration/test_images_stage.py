"""The image stage over real HTTP: which addresses are visited, what becomes of them, and what lies in the lake after it."""

import io
import os
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from pipeline.datasets.lake import open_lake
from pipeline.domain.identifiers import image_id
from pipeline.errors import CriticalError
from pipeline.images import hosts as pacing
from pipeline.images.steps import download_batch, plan_downloads
from pipeline.sandbox import SandboxOptions
from pipeline.sandbox.pictures import made
from pipeline.sandbox.process import SandboxProcess, free_port
from pipeline.settings import PROJECT_ROOT, Settings
from tests.integration.archive import environment_of
from tests.integration.pictures import (
    CLOSED,
    OPEN,
    RUN,
    ImageHost,
    Page,
    do_images,
    drawing,
    heavy,
    image_host,
    images_of,
    jpeg,
    link,
    links_in,
    media,
    record,
    rows_of,
    saved,
    settings_of,
    shards_in,
    stored,
    verdicts,
    without,
    write_pictures,
    write_run,
)

HOSTS = tuple(f"127.0.0.{number}" for number in range(2, 10))
LARGE, SMALL = "/1/large", "/1/small"
PLACE_OF_SHARD = ("image_id", "shard_uri", "shard_offset", "shard_size")


@pytest.fixture(scope="module")
def europeana(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    """A sandbox with two records; its image hosts have every behaviour."""
    folder = tmp_path_factory.mktemp("europeana")
    write_pictures(folder / "collection", {LARGE: drawing(1, 1600, 1200), SMALL: drawing(2, 480, 360)})
    options = SandboxOptions(
        collection=folder / "collection",
        state_dir=folder / "state",
        vocabulary_path=PROJECT_ROOT / "vocab" / "concepts.yaml",
        port=free_port(),
        image_hosts=HOSTS,
    )
    with SandboxProcess(options) as sandbox:
        yield sandbox


@pytest.fixture
def host() -> Iterator[ImageHost]:
    with image_host("127.0.0.1", "127.0.0.2") as server:
        yield server


@pytest.fixture
def settings(host: ImageHost, tmp_path: Path) -> Settings:
    return settings_of(tmp_path / "var", host.names)


@dataclass
class Fair:
    """One run over every behaviour, and what it left."""

    sandbox: SandboxProcess
    settings: Settings
    key: str
    report: dict[str, Any]
    addresses: dict[str, str]

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The rows of a record, by the name that it has here."""
        return [row for row in rows_of(self.settings, self.key) if row["record_id"] == f"/2/{name}"]

    def row(self, name: str) -> dict[str, Any]:
        """Its only row."""
        (row,) = self.rows(name)
        return row


def faulty(sandbox: SandboxProcess, path: str, host: int = 0) -> str:
    return f"http://{HOSTS[host]}:{sandbox.options.port}/_faulty/{path}"


def media_addresses(sandbox: SandboxProcess) -> dict[str, str]:
    """Where the sandbox's own records have their pictures: Europeana has thumbnails of these addresses."""
    parameters = {"query": "*:*", "rows": "10", "profile": "rich"}
    reply = requests.get(
        f"{sandbox.url}/europeana/record/v2/search.json", params=parameters, headers={"X-Api-Key": sandbox.key}, timeout=10
    )
    return {item["id"]: item["edmIsShownBy"][0] for item in reply.json()["items"]}


def fair_records(sandbox: SandboxProcess, known: dict[str, str]) -> list[dict[str, Any]]:
    """A record for every behaviour. Each that fails in passing has a host of its own, for it makes its host pause."""

    def one(name: str, *paths: str, host: int = 0, **changes: Any) -> dict[str, Any]:
        urls = [path if "://" in path else faulty(sandbox, path, host) for path in paths]
        return record(f"/2/{name}", *urls, **({"thumbnail_url": known[LARGE]} | changes))

    service = {"iiif_service": f"{sandbox.url}/iiif{LARGE}"}
    sizes = {"width_px": 1600, "height_px": 1200}
    return [
        one("gone", "status/404/a.jpg"),
        one("failing", "status/500/a.jpg", host=1),
        one("page", "html/a.jpg"),
        one("truncated", "truncated/a.jpg", host=2),
        one("reset", "reset/a.jpg", host=3),
        one("refused", "status/403/a.jpg"),
        one("lost", "status/404/b.jpg", thumbnail_url="http://example.org/never-seen.jpg"),
        one("robots", f"http://{HOSTS[0]}:{sandbox.options.port}/private/a.jpg"),
        one("tagged", "robots-tag/noai, noimageai/a.jpg"),
        one("blank", "ok/blank.jpg"),
        one("tiny", "ok/tiny.jpg"),
        one("wide", "ok/wide.jpg"),
        one("private", "to/private/a.jpg", thumbnail_url=None),
        one("metadata", "to/metadata/a.jpg", thumbnail_url=None),
        one("loop", "loop/a.jpg", thumbnail_url=None),
        one("bomb", "ok/bomb.png", thumbnail_url=None),
        one("half", "ok/half.jpg", thumbnail_url=None),
        one("huge", "huge/3/a.jpg", thumbnail_url=None),
        one("others", "status/404/c.jpg", "html/c.jpg", "ok/cmyk.jpg", "ok/grey.jpg"),
        one("rotated", "ok/rotated.jpg"),
        one("transparent", "ok/alpha.png"),
        one("scan", "ok/16bit.tif"),
        one("same-1", "ok/one.jpg"),
        one("same-2", "ok/two.jpg", host=4, rights=CLOSED, rights_category="restricted"),
        one("iiif", known[LARGE], media=[media(known[LARGE], **service, **sizes)]),
        one("iiif-unknown-size", f"{known[LARGE]}?b", media=[media(f"{known[LARGE]}?b", **service)]),
        one("iiif-small", known[SMALL], media=[media(known[SMALL], **service, width_px=480, height_px=360)]),
        one(
            "iiif-broken",
            f"{known[LARGE]}?c",
            media=[media(f"{known[LARGE]}?c", iiif_service=f"{sandbox.url}/iiif/1/nothing", **sizes)],
        ),
        *(one(f"shared-{number}", "redirect/2/shared.jpg") for number in range(3)),
    ]


@pytest.fixture(scope="module")
def fair(europeana: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Fair:
    exempt = ",".join(f"{host}:{europeana.options.port}" for host in ("127.0.0.1", *HOSTS))
    settings = settings_of(
        tmp_path_factory.mktemp("fair"),
        exempt,
        europeana_api_url=f"{europeana.url}/europeana",
        use_thumbnails=True,
        download_attempts=2,
        crawl_delay_longest_s=0,
        image_max_bytes=2_000_000,
    )
    known = media_addresses(europeana)
    key = write_run(settings, fair_records(europeana, known))
    return Fair(europeana, settings, key, do_images(settings, key), known)


# --- Thumbnails ---


@pytest.mark.parametrize(
    ("name", "reason", "attempts"),
    [
        ("gone", "gone", 1),
        ("failing", "http_5xx", 2),
        ("page", "not_an_image", 1),
        ("truncated", "connection", 2),
        ("reset", "connection", 2),
        ("refused", "http_4xx", 1),
    ],
)
def test_europeanas_thumbnail_is_taken_where_the_provider_fails(fair: Fair, name: str, reason: str, attempts: int) -> None:
    failed, thumbnail = fair.rows(name)
    assert (failed["fetched_as"], failed["reason"], failed["attempts"]) == ("original", reason, attempts)
    assert failed["outcome"] != "ok" and failed["detail"] and failed["shard_uri"] is None
    assert (thumbnail["fetched_as"], thumbnail["outcome"], thumbnail["reason"]) == ("thumbnail", "ok", None)
    assert "/thumbnail/v3/400/" in thumbnail["image_url"] and thumbnail["position"] > failed["position"]
    with Image.open(io.BytesIO(stored(fair.settings, thumbnail))) as picture:
        assert picture.size == (400, 300)


def test_where_europeana_has_no_thumbnail_the_reason_says_so(fair: Fair) -> None:
    row = fair.row("lost")
    assert (row["fetched_as"], row["outcome"], row["reason"]) == ("original", "gone", "gone")
    assert row["detail"] == "HTTP 404 (thumbnail: HTTP 404)"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("robots", "robots_disallowed"),
        ("tagged", "robots_disallowed"),
        ("blank", "near_blank"),
        ("tiny", "too_small"),
        ("wide", "bad_aspect"),
    ],
)
def test_no_thumbnail_gets_round_a_refusal_or_a_picture_that_shows_nothing(fair: Fair, name: str, reason: str) -> None:
    row = fair.row(name)
    assert (row["outcome"], row["reason"], row["fetched_as"]) == ("rejected", reason, "original")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("private", "ssrf_refused"),
        ("metadata", "ssrf_refused"),
        ("loop", "too_many_redirects"),
        ("bomb", "bomb"),
        ("half", "truncated"),
        ("huge", "too_large"),
    ],
)
def test_every_other_failure_has_its_reason(fair: Fair, name: str, reason: str) -> None:
    row = fair.row(name)
    assert row["reason"] == reason and row["outcome"] != "ok" and row["shard_uri"] is None


# --- Alternatives, IIIF, shared addresses ---


def test_other_images_of_the_record_are_tried_in_order_until_one_is_ok(fair: Fair) -> None:
    rows = fair.rows("others")
    assert [(row["position"], row["reason"]) for row in rows] == [(0, "gone"), (1, "not_an_image"), (2, None)]
    assert rows[-1]["image_url"].endswith("/ok/cmyk.jpg")


def test_at_most_three_other_images_are_tried(host: ImageHost, settings: Settings) -> None:
    urls = [host.url(f"/nothing/{number}") for number in range(6)]
    rows = images_of(settings, [record("/1/a", *urls)])
    assert [row["image_url"] for row in rows] == urls[:4]
    assert host.paths == [f"/nothing/{number}" for number in range(4)]


def test_a_source_that_wants_all_images_gets_them_all(host: ImageHost, settings: Settings) -> None:
    urls = [host.draw(f"/{number}", number) for number in range(6)]
    broken = host.url("/nothing")
    rows = images_of(settings, [record("/1/a", urls[0], broken, *urls[1:])], images="all")
    assert [row["image_url"] for row in rows] == [urls[0], broken, *urls[1:]]
    assert Counter(verdicts(rows)) == {("ok", None): 6, ("gone", "gone"): 1}
    assert len({row["image_id"] for row in rows if row["image_id"]}) == 6


def test_of_all_images_no_more_are_fetched_than_the_settings_allow(host: ImageHost, settings: Settings) -> None:
    settings.images_per_record = 3
    urls = [host.draw(f"/{number}", number) for number in range(6)]
    assert [row["image_url"] for row in images_of(settings, [record("/1/a", *urls)], images="all")] == urls[:3]


@pytest.mark.parametrize("images", ["first", "all"])
def test_images_with_other_rights_than_the_source_wants_are_left_alone(
    host: ImageHost, settings: Settings, images: str
) -> None:
    closed, own = host.draw("/closed", 1), host.draw("/open", 2)
    files = [media(closed, rights=CLOSED, rights_category="restricted"), media(own)]
    one = record("/1/a", host.url("/nothing"), closed, own, media=files)
    rows = images_of(settings, [one], rights=("open",), images=images)
    assert [row["image_url"] for row in rows] == [host.url("/nothing"), own]
    assert host.paths == ["/nothing", "/open"] and rows[-1]["rights"] == OPEN


def test_a_small_rendition_is_asked_of_a_known_image_service(fair: Fair) -> None:
    for name in ("iiif", "iiif-unknown-size"):
        row = fair.row(name)
        assert (row["fetched_as"], row["outcome"]) == ("iiif", "ok")
        assert row["final_url"] == f"{fair.sandbox.url}/iiif{LARGE}/full/!800,800/0/default.jpg"
        assert (row["width_px"], row["height_px"]) == (800, 600)
    assert fair.row("iiif")["image_url"] == fair.addresses[LARGE]


def test_a_file_that_is_small_already_is_asked_of_its_host(fair: Fair) -> None:
    row = fair.row("iiif-small")
    assert (row["fetched_as"], row["final_url"], row["width_px"]) == ("original", fair.addresses[SMALL], 480)


def test_the_file_itself_is_fetched_where_the_image_service_fails(fair: Fair) -> None:
    row = fair.row("iiif-broken")
    assert (row["fetched_as"], row["outcome"], row["width_px"]) == ("original", "ok", 1600)
    assert row["image_url"] == f"{fair.addresses[LARGE]}?c"


def test_an_address_that_many_records_name_is_visited_once(host: ImageHost, settings: Settings) -> None:
    shared, other = host.draw("/shared", 1), host.draw("/other", 2)
    rows = images_of(settings, [*(record(f"/1/{number}", shared) for number in range(5)), record("/1/x", other)])
    assert sorted(host.paths) == ["/other", "/shared"]
    assert verdicts(rows) == [("ok", None)] * 6
    assert len({(row["image_id"], row["shard_uri"], row["shard_offset"]) for row in rows[:5]}) == 1
    assert len(links_in(settings)) == 6


def test_the_same_picture_at_two_addresses_is_stored_once(fair: Fair) -> None:
    one, other = fair.row("same-1"), fair.row("same-2")
    assert one["image_url"] != other["image_url"] and one["rights"] != other["rights"]
    assert one["image_id"] == other["image_id"] == image_id(made("picture.jpg"))
    assert [one[name] for name in ("shard_uri", "shard_offset")] == [other[name] for name in ("shard_uri", "shard_offset")]
    members = [name for names in members_of(fair.settings).values() for name in names]
    assert members.count(f"{one['image_id']}.jpg") == 1


def test_the_same_picture_is_stored_once_across_runs(host: ImageHost, settings: Settings) -> None:
    first, second = host.draw("/first", 1), host.draw("/second", 1, etag="")
    (before,) = images_of(settings, [record("/1/a", first)])
    shards = shards_in(settings)
    (after,) = images_of(settings, [record("/5/b", second)], run_id="other")
    assert host.statuses("/second") == [200]
    assert shards_in(settings) == shards
    assert [after[name] for name in PLACE_OF_SHARD] == [before[name] for name in PLACE_OF_SHARD]


# --- What lies in the lake ---


def members_of(settings: Settings) -> dict[str, dict[str, bytes]]:
    """The members of every shard."""
    found = {}
    for key, content in shards_in(settings).items():
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            found[key] = {member.name: tar.extractfile(member).read() for member in tar.getmembers()}  # type: ignore[union-attr]
    return found


def test_every_row_leads_to_its_member_and_every_member_to_a_row(fair: Fair) -> None:
    rows = [row for row in rows_of(fair.settings, fair.key) if row["outcome"] == "ok"]
    members = members_of(fair.settings)
    assert rows and sum(map(len, members.values())) == len({row["image_id"] for row in rows})
    for row in rows:
        assert stored(fair.settings, row) == members[row["shard_uri"]][f"{row['image_id']}.jpg"]


def test_every_member_is_a_small_jpeg_that_names_its_rights(fair: Fair) -> None:
    rows = {row["image_id"]: row for row in reversed(rows_of(fair.settings, fair.key)) if row["outcome"] == "ok"}
    for row in rows.values():
        content = stored(fair.settings, row)
        with Image.open(io.BytesIO(content)) as picture:
            assert (picture.format, picture.mode) == ("JPEG", "RGB") and 32 <= max(picture.size) <= 400
            packet = picture.info["xmp"].decode()
        assert f'xmpRights:WebStatement="{row["rights"]}"' in packet
        assert f'dc:source="http://data.europeana.eu/item{row["record_id"]}"' in packet
        assert 'photoshop:Credit="A provider"' in packet


def test_a_picture_is_upright_and_transparency_is_white(fair: Fair) -> None:
    assert (fair.row("rotated")["width_px"], fair.row("rotated")["height_px"]) == (480, 360)
    with Image.open(io.BytesIO(stored(fair.settings, fair.row("rotated")))) as picture:
        assert picture.size == (300, 400)
    for name, mime in (("transparent", "image/png"), ("scan", "image/tiff")):
        assert (fair.row(name)["mime"], fair.row(name)["outcome"]) == (mime, "ok")


def test_rows_and_reasons_add_up_in_the_report(fair: Fair) -> None:
    rows, counts = rows_of(fair.settings, fair.key), fair.report["counts"]
    reasons = Counter(row["reason"] for row in rows if row["reason"])
    assert (counts["inputs"], counts["ok"]) == (len(rows), sum(row["outcome"] == "ok" for row in rows))
    assert counts["reasons"] == reasons
    refused = rows_of(fair.settings, fair.key, "outcomes/stage=images")
    assert Counter(row["reason"] for row in refused) == reasons
    by_record = Counter(row["record_id"] for row in rows)
    extra = counts["extra"]
    assert extra["records"] == len(by_record) == 31
    assert extra["records_ok"] == len({row["record_id"] for row in rows if row["outcome"] == "ok"})
    for name in ("thumbnail", "iiif"):
        assert extra[name] == sum(row["outcome"] == "ok" and row["fetched_as"] == name for row in rows) > 0


def test_hosts_and_providers_in_the_report_add_up(fair: Fair) -> None:
    rows, counts, hosts = rows_of(fair.settings, fair.key), fair.report["counts"], fair.report["hosts"]
    api = f"127.0.0.1:{fair.sandbox.options.port}"
    assert set(hosts) == {row["host"] for row in rows} | {api}
    assert sum(stats["ok"] for stats in hosts.values()) == counts["ok"]
    for name, stats in hosts.items():
        mine = [row for row in rows if row["host"] == name]
        assert stats["ok"] == sum(row["outcome"] == "ok" for row in mine)
        # A thumbnail or a rendition that is not there has no row of its own.
        stood_in = sum("thumbnail: HTTP 404" in row["detail"] for row in rows) + 1 if name == api else 0
        assert stats["reasons"] == Counter(row["reason"] for row in mine if row["reason"]) + Counter(gone=stood_in)
    failing = hosts[f"{HOSTS[1]}:{fair.sandbox.options.port}"]
    assert (failing["visits"], failing["ok"], failing["reasons"], failing["pauses"]) == (2, 0, {"http_5xx": 1}, 2)
    (provider,) = fair.report["providers"].items()
    assert provider[0] == "A provider"
    assert (provider[1]["images"], provider[1]["ok"]) == (counts["inputs"], counts["ok"])
    assert provider[1]["reasons"] == counts["reasons"]


def test_bytes_of_a_host_are_those_that_it_has_sent(host: ImageHost, settings: Settings) -> None:
    urls = [host.draw(f"/{number}", number) for number in range(4)]
    key = write_run(settings, [record(f"/1/{number}", urls[number % 4]) for number in range(8)])
    report = do_images(settings, key)
    (stats,) = report["hosts"].values()
    assert (stats["visits"], stats["bytes"]) == (4, host.sent)
    assert report["counts"]["extra"]["bytes"] == host.sent


def test_originals_come_back_as_they_were_received(host: ImageHost, settings: Settings) -> None:
    settings.keep_originals = True
    contents = {"/a.jpg": jpeg(1, 900, 700), "/b.png": saved(drawing(2), "PNG")}
    for path, content in contents.items():
        host.pages[path] = Page(content)
    rows = images_of(settings, [record(f"/1/{path[1]}", host.url(path)) for path in contents])
    assert [stored(settings, row, "original") for row in rows] == list(contents.values())
    assert [image_id(stored(settings, row, "original")) for row in rows] == [row["image_id"] for row in rows]
    members = members_of(settings)
    assert set(members[rows[0]["original_uri"]]) == {f"{rows[0]['image_id']}.jpg", f"{rows[1]['image_id']}.png"}
    assert set(members[rows[0]["shard_uri"]]) == {f"{row['image_id']}.jpg" for row in rows}


def test_originals_are_not_kept_unless_wanted(fair: Fair) -> None:
    assert not [key for key in shards_in(fair.settings) if "/original-" in key]
    assert {row["original_uri"] for row in rows_of(fair.settings, fair.key)} == {None}


# --- The second run ---


def draw_many(host: ImageHost, count: int = 12) -> list[dict[str, Any]]:
    """Records with a picture each, one without, and one whose picture is too small."""
    records = [record(f"/1/r{number:03d}", host.draw(f"/{number}", number)) for number in range(count)]
    host.pages["/tiny"] = Page(jpeg(99, 8, 8), etag='"tiny"')
    return [*records, record("/1/s-tiny", host.url("/tiny")), record("/1/t-gone", host.url("/nothing"))]


def test_an_unchanged_collection_costs_304s_and_writes_no_shard(host: ImageHost, settings: Settings) -> None:
    records = draw_many(host)
    first = images_of(settings, records)
    sent, shards = host.sent, shards_in(settings)
    host.forget()
    key = write_run(settings, records, run_id="next", days=1)
    report = do_images(settings, key)
    assert Counter(asked.status for asked in host.asked) == {304: 13, 404: 2}  # one of them is robots.txt
    assert host.sent <= 0.05 * sent
    assert shards_in(settings) == shards
    assert without(rows_of(settings, key), *RUN) == without(first, *RUN)
    assert report["counts"]["extra"]["not_modified"] == 13
    assert (report["counts"]["ok"], report["counts"]["reasons"]) == (12, {"gone": 1, "too_small": 1})


def test_last_modified_alone_makes_the_second_visit_a_conditional_one(europeana: SandboxProcess, tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "var", f"{HOSTS[0]}:{europeana.options.port}")
    records = [record("/1/a", faulty(europeana, "etag/picture.jpg"))]
    (first,) = images_of(settings, records)
    assert first["etag"] and first["last_modified"]
    key = write_run(settings, records, run_id="next", days=1)
    (stats,) = do_images(settings, key)["hosts"].values()
    assert (stats["visits"], stats["not_modified"], stats["bytes"]) == (1, 1, 0)


def test_a_changed_picture_is_fetched_and_stored_anew(host: ImageHost, settings: Settings) -> None:
    records = draw_many(host)
    images_of(settings, records)
    shards = shards_in(settings)
    host.draw("/3", 300)
    host.forget()
    rows = images_of(settings, records, run_id="next", days=1)
    assert host.statuses("/3") == [200] and host.sent == len(jpeg(300))
    added = shards_in(settings).keys() - shards.keys()
    assert len(added) == 1 and {key: shards_in(settings)[key] for key in shards} == shards
    changed = next(row for row in rows if row["image_url"] == host.url("/3"))
    assert changed["image_id"] == image_id(jpeg(300)) and {changed["shard_uri"]} == added
    assert list(members_of(settings)[changed["shard_uri"]]) == [f"{image_id(jpeg(300))}.jpg"]


def test_other_settings_for_the_derivative_fetch_everything_anew(host: ImageHost, settings: Settings) -> None:
    for number in range(3):
        host.pages[f"/{number}"] = Page(jpeg(number, 600, 450), etag=f'"v{number}"')
    records = [record(f"/1/{number}", host.url(f"/{number}")) for number in range(3)]
    images_of(settings, records)
    shards = shards_in(settings)
    host.forget()
    smaller = settings.model_copy(update={"derivative_side_px": 200})
    rows = images_of(smaller, records, run_id="next", days=1)
    assert [asked.status for asked in host.asked if asked.path != "/robots.txt"] == [200] * 3
    for row in rows:
        with Image.open(io.BytesIO(stored(settings, row))) as picture:
            assert max(picture.size) == 200
    assert {key: shards_in(settings)[key] for key in shards} == shards


def test_a_run_done_again_under_other_settings_leaves_the_shards_that_later_runs_show(
    host: ImageHost, settings: Settings
) -> None:
    records = [record(f"/1/{number}", host.draw(f"/{number}", number)) for number in range(3)]
    first = write_run(settings, records)
    do_images(settings, first)
    before = shards_in(settings)
    later = write_run(settings, records[:1], run_id="next", days=1)
    do_images(settings, later)
    assert shards_in(settings) == before
    do_images(settings.model_copy(update={"derivative_quality": 60}), first)
    (shown,) = rows_of(settings, later)
    assert stored(settings, shown)
    assert shards_in(settings).keys() > before.keys()
    assert {row["shard_uri"] for row in rows_of(settings, first)}.isdisjoint(before)


def test_a_bad_night_of_a_host_does_not_make_its_pictures_be_fetched_and_stored_again(
    host: ImageHost, settings: Settings
) -> None:
    records = [record(f"/1/{number}", host.draw(f"/{number}", number)) for number in range(3)]
    first = images_of(settings, records)
    shards, good = shards_in(settings), dict(host.pages)
    host.pages = {path: Page(status=500, headers={"Retry-After": "0"}) for path in good}
    assert verdicts(images_of(settings, records, run_id="bad", days=1)) == [("failed", "http_5xx")] * 3
    host.pages = good
    host.forget()
    rows = images_of(settings, records, run_id="good", days=2)
    assert without(rows, *RUN) == without(first, *RUN)
    assert shards_in(settings) == shards


def test_the_stage_once_more_after_its_end_visits_nobody_and_changes_nothing(host: ImageHost, settings: Settings) -> None:
    key = write_run(settings, draw_many(host))
    report = do_images(settings, key)
    rows, shards = rows_of(settings, key), shards_in(settings)
    host.forget()
    assert without([do_images(settings, key)], "seconds") == without([report], "seconds")
    assert host.asked == []
    assert (rows_of(settings, key), shards_in(settings)) == (rows, shards)


def test_a_lake_that_was_emptied_by_hand_is_not_believed_in(host: ImageHost, settings: Settings) -> None:
    records = [record(f"/1/{number}", host.draw(f"/{number}", number)) for number in range(3)]
    images_of(settings, records)
    store = open_lake(settings).store
    for key in shards_in(settings):
        store.delete(key)
    rows = images_of(settings, records, run_id="next", days=1)
    assert verdicts(rows) == [("ok", None)] * 3
    assert [len(stored(settings, row)) == row["shard_size"] for row in rows] == [True] * 3


# --- Placeholders and near duplicates ---


def with_placeholder(host: ImageHost, records: int, *, address: str = "127.0.0.1", number: int = 50) -> list[dict[str, Any]]:
    """Records whose first image is one look, each file with other bytes, and whose second is a picture of their own."""
    found = []
    for one in range(records):
        path = f"/{address}-none-{one}"
        host.pages[path] = Page(heavy(jpeg(number), 65_536 * (1 + one)), etag=f'"{path}"')
        other = host.draw(f"/{address}-own-{one}", 1000 + 10 * one + number)
        found.append(record(f"/{address[-1]}/p{one}", host.url(path, address), other))
    return found


def test_one_look_on_many_records_of_a_host_is_a_placeholder(host: ImageHost, settings: Settings) -> None:
    settings.placeholder_records = 5
    records = [*with_placeholder(host, 5), record("/9/good", host.draw("/good", 1))]
    key = write_run(settings, records)
    report, rows = do_images(settings, key), rows_of(settings, key)
    assert verdicts(rows) == [("rejected", "placeholder")] * 5 + [("ok", None)]
    assert {(row["shard_uri"], row["shard_offset"]) for row in rows[:5]} == {(None, None)}
    assert all("127.0.0.1" in row["detail"] and "5 records" in row["detail"] for row in rows[:5])
    assert list(report["placeholders"].values()) == [5]
    counts = report["counts"]
    assert (counts["inputs"], counts["ok"], counts["reasons"]) == (6, 1, {"placeholder": 5})
    assert counts["extra"]["records_ok"] == 1
    assert Counter(row["reason"] for row in rows_of(settings, key, "outcomes/stage=images")) == {"placeholder": 5}
    assert report["providers"]["A provider"]["reasons"] == {"placeholder": 5}
    assert sum(stats["ok"] for stats in report["hosts"].values()) == counts["ok"]


def test_a_placeholder_stays_one_when_the_run_is_published_again(host: ImageHost, settings: Settings) -> None:
    settings.placeholder_records = 5
    key = write_run(settings, with_placeholder(host, 5))
    report, rows = do_images(settings, key), rows_of(settings, key)
    again = do_images(settings, key)
    assert rows_of(settings, key) == rows
    assert again["counts"] == report["counts"]
    assert {row["state"] for row in links_in(settings)} == {"placeholder"}


def test_a_known_placeholder_makes_the_next_run_try_other_images(host: ImageHost, settings: Settings) -> None:
    settings.placeholder_records = 5
    records = with_placeholder(host, 5)
    images_of(settings, records)
    host.pages["/new"] = Page(heavy(jpeg(50), 65_536 * 20))
    other = host.draw("/new-own", 5)
    key = write_run(settings, [*records, record("/9/new", host.url("/new"), other)], run_id="next", days=1)
    report, rows = do_images(settings, key), rows_of(settings, key)
    assert [row["reason"] for row in rows] == ["placeholder", None] * 6
    assert rows[-1]["image_url"] == other
    assert (report["counts"]["ok"], report["counts"]["reasons"]) == (6, {"placeholder": 6})
    assert host.statuses("/127.0.0.1-none-0") == [200, 304]


def test_one_look_on_fewer_records_of_each_host_stays(host: ImageHost, settings: Settings) -> None:
    settings.placeholder_records = 5
    records = [*with_placeholder(host, 4), *with_placeholder(host, 4, address="127.0.0.2")]
    rows = images_of(settings, records)
    assert verdicts(rows) == [("ok", None)] * 8
    assert len({row["perceptual_hash"] for row in rows}) == 1 and len({row["host"] for row in rows}) == 2


def test_no_look_is_a_placeholder_when_that_is_turned_off(host: ImageHost, settings: Settings) -> None:
    settings.placeholder_records = 0
    assert verdicts(images_of(settings, with_placeholder(host, 5))) == [("ok", None)] * 5


def test_pictures_to_remove_are_found_re_encoded_and_resized(host: ImageHost, settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "to-remove" / "museum"
    folder.mkdir(parents=True)
    (folder / "none.png").write_bytes(saved(drawing(7, 300, 200), "PNG"))
    settings.images_to_remove_dir = tmp_path / "to-remove"
    host.pages["/same"] = Page((folder / "none.png").read_bytes())
    host.pages["/smaller"] = Page(saved(drawing(7, 300, 200).resize((150, 100)), quality=70))
    urls = [host.url("/same"), host.url("/smaller"), host.draw("/other", 8)]
    rows = images_of(settings, [record(f"/1/{number}", url) for number, url in enumerate(urls)])
    assert verdicts(rows) == [("rejected", "placeholder"), ("rejected", "placeholder"), ("ok", None)]
    assert all("none.png" in row["detail"] for row in rows[:2])


def test_a_picture_and_its_re_encoded_copy_are_near_duplicates(host: ImageHost, settings: Settings) -> None:
    host.pages["/copy"] = Page(saved(drawing(1), quality=60))
    urls = [host.draw("/one", 1), host.url("/copy"), host.draw("/two", 2)]
    key = write_run(settings, [record(f"/1/{number}", url) for number, url in enumerate(urls)])
    report = do_images(settings, key)
    ids = [row["image_id"] for row in rows_of(settings, key)]
    (pair,) = rows_of(settings, key, "near_duplicates")
    assert [pair["image_id"], pair["near_image_id"]] == sorted(ids[:2])
    assert pair["distance"] <= settings.near_duplicate_bits and report["near_duplicates"] == 1


# --- Manners ---


def gaps(host: ImageHost) -> list[float]:
    """Seconds between the requests for pictures, in their order."""
    at = [asked.at for asked in host.asked if asked.path != "/robots.txt"]
    return [after - before for before, after in zip(at, at[1:], strict=False)]


def test_retry_after_is_waited_for(europeana: SandboxProcess, tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "var", f"{HOSTS[5]}:{europeana.options.port}", download_attempts=2)
    started = time.monotonic()
    (row,) = images_of(settings, [record("/1/a", faulty(europeana, "quiet/1/a.jpg", 5))])
    assert (row["outcome"], row["attempts"]) == ("ok", 2)
    assert time.monotonic() - started >= 1


def test_a_longer_retry_after_is_cut_to_the_settings(host: ImageHost, settings: Settings) -> None:
    settings.download_attempts, settings.retry_after_longest_s = 3, 0.2
    host.pages["/busy"] = Page(status=503, headers={"Retry-After": "3600"})
    (row,) = images_of(settings, [record("/1/a", host.url("/busy"))])
    assert (row["reason"], row["attempts"], host.statuses("/busy")) == ("http_5xx", 3, [503] * 3)
    assert all(0.2 <= gap < 2 for gap in gaps(host))


def test_a_crawl_delay_is_kept(host: ImageHost, settings: Settings) -> None:
    host.robots = "User-agent: *\nCrawl-delay: 0.3\n"
    key = write_run(settings, [record(f"/1/{number}", host.draw(f"/{number}", number)) for number in range(4)])
    report = do_images(settings, key)
    assert len(gaps(host)) == 3 and min(gaps(host)) >= 0.29
    (stats,) = report["hosts"].values()
    assert (stats["robots"], stats["crawl_delay_s"], report["counts"]["ok"]) == ("read", 0.3, 4)


def test_a_crawl_delay_is_kept_after_an_interruption_too(host: ImageHost, settings: Settings) -> None:
    """The task was killed behind its first checkpoint: the others and the result are not there."""
    settings.images_per_shard = 1
    host.robots = "User-agent: *\nCrawl-delay: 0.3\n"
    key = write_run(settings, [record(f"/1/{number}", host.draw(f"/{number}", number)) for number in range(4)])
    (batch,) = plan_downloads(key, settings=settings)
    result = download_batch(batch, settings=settings)
    lake, checkpoint = open_lake(settings), batch.replace("batch-", "pieces-").removesuffix("l")
    value = lake.read_json(checkpoint)
    lake.write_json(checkpoint, value | {"pieces": {"0": value["pieces"]["0"]}})
    lake.store.delete(result)
    host.forget()
    download_batch(batch, settings=settings)
    assert len(gaps(host)) == 2 and min(gaps(host)) >= 0.29


def test_no_more_visits_at_once_than_a_host_may_have(host: ImageHost, settings: Settings) -> None:
    settings.download_per_host = 3
    records = []
    for number in range(24):
        host.draw(f"/{number}", number, wait_s=0.03)
        records.append(record(f"/1/{number}", host.url(f"/{number}", host.addresses[number % 2])))
    assert verdicts(images_of(settings, records)) == [("ok", None)] * 24
    assert set(host.most.values()) == {3}


def test_a_dead_host_is_given_up_and_its_records_end_with_a_reason(
    host: ImageHost, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacing, "FIRST_PAUSE_S", 0.01)
    dead = f"127.0.0.1:{free_port()}"
    settings.private_image_hosts += f",{dead}"
    settings.download_attempts = 2
    records = [record(f"/1/{number:02d}", f"http://{dead}/{number}") for number in range(40)]
    records += [record(f"/3/{number}", host.draw(f"/{number}", number)) for number in range(3)]
    key = write_run(settings, records)
    started = time.monotonic()
    report, rows = do_images(settings, key), rows_of(settings, key)
    assert time.monotonic() - started < 20
    assert verdicts(rows) == [("failed", "connection")] * 40 + [("ok", None)] * 3
    assert sum("given up" in row["detail"] for row in rows) == report["hosts"][dead]["given_up"] >= 30
    assert report["hosts"][dead]["visits"] == pacing.GIVEN_UP_AFTER


def test_a_host_whose_robots_file_fails_counts_as_closed(host: ImageHost, settings: Settings) -> None:
    host.pages["/robots.txt"] = Page(status=503)
    (row,) = images_of(settings, [record("/1/a", host.draw("/a", 1))])
    assert row["outcome"] == "failed" and row["reason"] == "http_5xx" and host.paths == []


# --- When too much fails, or time is up ---


def test_a_run_in_which_all_hosts_fail_stops_with_one_message(host: ImageHost, settings: Settings) -> None:
    settings.max_failed_share = 0.5
    host.pages = {f"/{number}": Page(status=403) for number in range(4)}
    key = write_run(settings, [record(f"/1/{number}", host.url(f"/{number}")) for number in range(4)])
    with pytest.raises(CriticalError) as stopped:
        do_images(settings, key)
    message = str(stopped.value)
    assert f"127.0.0.1:{host.port}" in message and "MAX_FAILED_SHARE=0.5" in message and "4 of 4" in message
    assert "\n" not in message
    with pytest.raises(CriticalError, match="no published images"):
        rows_of(settings, key)


def test_half_of_the_hosts_may_fail(host: ImageHost, settings: Settings) -> None:
    settings.max_failed_share = 0.5
    urls = [host.draw("/a", 1), host.url("/b")]
    host.pages["/b"] = Page(status=403)
    assert verdicts(images_of(settings, [record("/1/a", urls[0]), record("/1/b", urls[1])])) == [
        ("ok", None),
        ("failed", "http_4xx"),
    ]


def test_what_there_is_no_time_for_is_left_to_a_later_run(host: ImageHost, settings: Settings) -> None:
    records = [record(f"/1/{number:02d}", host.draw(f"/{number}", number, wait_s=0.1)) for number in range(20)]
    hurried = settings.model_copy(update={"download_hours": 0.45 / 3600, "download_per_host": 1})
    key = write_run(hurried, records)
    started = time.monotonic()
    report, rows = do_images(hurried, key), rows_of(hurried, key)
    assert time.monotonic() - started < 10
    visited = len(host.paths)
    assert 1 <= visited <= 8 and report["counts"]["reasons"] == {"budget": 20 - visited}
    assert Counter(verdicts(rows)) == {("ok", None): visited, ("skipped", "budget"): 20 - visited}
    host.forget()
    later = images_of(settings, records, run_id="later", days=1)
    assert verdicts(later) == [("ok", None)] * 20
    assert Counter(asked.status for asked in host.asked if asked.path != "/robots.txt") == {304: visited, 200: 20 - visited}


def test_what_a_record_has_already_is_not_lost_when_there_is_no_time(host: ImageHost, settings: Settings) -> None:
    url = host.draw("/a", 1)
    (first,) = images_of(settings, [record("/1/a", url)])
    host.draw("/slow", 2, wait_s=0.3)
    hurried = settings.model_copy(update={"download_hours": 0.1 / 3600, "download_per_host": 1})
    rows = images_of(hurried, [record("/0/slow", host.url("/slow")), record("/1/a", url)], run_id="next", days=1)
    assert verdicts(rows)[1] == ("skipped", "budget")
    known = link(settings, "/1/a", url)
    assert known.image_id == first["image_id"] and known.place is not None


PEAK = """
import sys
from pipeline.images.steps import download_batch, plan_downloads
from pipeline.settings import Settings

for batch in plan_downloads(sys.argv[1], settings=Settings()):
    download_batch(batch, settings=Settings())
print(next(int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the peak is read from /proc")
def test_many_large_files_do_not_make_memory_grow(tmp_path: Path) -> None:
    with image_host("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4") as host:
        records = []
        for number in range(60):
            host.pages[f"/{number}"] = Page(heavy(jpeg(number % 4, 800, 600), 20_000_000))
            records.append(record(f"/1/{number:02d}", host.url(f"/{number}", host.addresses[number % 4])))
        settings = settings_of(tmp_path / "var", host.names)
        key = write_run(settings, records)
        done = subprocess.run(
            [sys.executable, "-c", PEAK, key],
            env=environment_of(settings),
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert len(host.paths) == 60
        assert int(done.stdout.split()[-1]) < 400
