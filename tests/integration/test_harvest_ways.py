"""Every way in: datasets, concepts, lists of ids, all images of a record, WITH collections and queries, folders."""

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from PIL import Image

from pipeline.cli.stages import run_stage
from pipeline.datasets.lake import open_lake
from pipeline.domain.scope import Scope, Selection
from pipeline.errors import CriticalError
from pipeline.sandbox.process import SandboxProcess
from tests.integration.archive import harvest, outcome_rows, record_ids, serve_archive, settings_for, start, write_archive

PICTURES = 60  # of the special records, numbers 3 to 7 modulo 50 (docs/sandbox.md)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    """Records with small pictures, of two datasets, with the sandbox's special ones among them."""
    folder = tmp_path_factory.mktemp("archive")
    write_pictures(folder / "collection", PICTURES)
    with serve_archive(folder, records=None) as running:
        yield running


def write_pictures(folder: Path, count: int) -> None:
    write_archive(folder, 0)
    with (folder / "metadata.csv").open("a", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        for number in range(count):
            name = f"p{number}.jpg"
            Image.effect_noise((80, 60), 60).convert("RGB").save(folder / name)
            rights = (
                "http://creativecommons.org/publicdomain/zero/1.0/"
                if number % 2
                else "http://rightsstatements.org/vocab/InC/1.0/"
            )
            row = [f"/{7 + number % 2}/r{number:03d}", name, f"Title {number}", "", "1900", "Aggregator", "Museum", rights]
            writer.writerow([*row, "", ""])


@pytest.fixture
def settings(platform, tmp_path):
    return settings_for(platform, tmp_path / "var", with_collection=f"of {tmp_path.name}")


def record_rows(settings, key):
    lake = open_lake(settings)
    return [row for batch in lake.rows(lake.run(key), "records") for row in batch.to_pylist()]


def test_a_dataset(settings):
    key = start(settings, selection=Selection("dataset", "7"))
    assert harvest(settings, key)["harvest"]["state"] == "complete"
    assert set(record_ids(settings, key)) == {f"/7/r{number:03d}" for number in range(0, PICTURES, 2)}


def test_the_licence_rule_rejects_records_by_the_rights_of_their_image(settings):
    key = start(settings, rights=("open",))
    report = harvest(settings, key)
    assert set(record_ids(settings, key)) == {f"/8/r{number:03d}" for number in range(1, PICTURES, 2)}
    refused = [row for row in outcome_rows(settings, key) if row["reason"] == "rights_restricted"]
    assert len(refused) == PICTURES / 2 and "InC/1.0/ is permission" in refused[0]["detail"]
    assert report["counts"]["inputs"] == PICTURES


def test_reusability_is_asked_of_the_server(settings):
    key = start(settings, selection=Selection("query", "*:*", reusability="open"))
    assert harvest(settings, key)["counts"]["inputs"] == PICTURES / 2


def test_a_list_of_ids_of_any_length_gives_a_record_or_a_row_for_each(settings, tmp_path):
    ids = tmp_path / "ids.csv"
    lines = [f"/{7 + number % 2}/r{number:03d}" for number in range(PICTURES)]
    unknown = [f"/9/nothing_{number}" for number in range(70)]
    odd = ["http://data.europeana.eu/item/7/r000", "https://www.europeana.eu/en/item/8/r001?lang=en", "no id at all"]
    moved = ["/7/r002_moved", "/8/r003_depublished"]
    ids.write_text("record_id,title\n" + "\n".join(f"{line},x" for line in [*lines, *odd, *unknown, *moved]) + "\n\n# end\n")
    key = start(settings, ids_file=ids)
    report = harvest(settings, key)
    assert set(record_ids(settings, key)) == set(lines)
    rows = {row["record_id"]: row for row in outcome_rows(settings, key)}
    assert {row["reason"] for row in rows.values()} == {"gone", "moved"}
    assert set(rows) == {*unknown, *moved, "no id at all"}
    assert (rows["/7/r002_moved"]["outcome"], rows["/7/r002_moved"]["detail"]) == (
        "skipped",
        "the record answers as /7/r002 now",
    )
    assert rows["/8/r003_depublished"]["outcome"] == "gone"
    assert report["harvest"]["state"] == "complete"
    assert report["counts"]["inputs"] == len(lines) + len(rows)


def test_a_moved_id_brings_its_record_under_the_new_id(settings):
    key = start(settings, scope=Scope("ids", ids=("/7/r004_moved",)))
    harvest(settings, key)
    assert list(record_ids(settings, key)) == ["/7/r004"]


def test_an_empty_or_missing_list_of_ids_names_the_file(settings, tmp_path):
    for content in ("", "record_id\n# nothing\n"):
        path = tmp_path / "ids.txt"
        path.write_text(content)
        with pytest.raises(CriticalError, match="ids.txt: there is no id in it"):
            start(settings, ids_file=path)
    with pytest.raises(CriticalError, match=r"nowhere.txt: cannot be read"):
        start(settings, ids_file=tmp_path / "nowhere.txt")


def test_a_search_hit_has_one_image_and_the_record_api_all_of_them_with_their_measures(settings):
    plain, full = start(settings, run_id="plain"), start(settings, run_id="full", images="all")
    harvest(settings, plain)
    report = harvest(settings, full)
    first = {row["record_id"]: row for row in record_rows(settings, plain)}
    every = {row["record_id"]: row for row in record_rows(settings, full)}
    assert set(first) == set(every) and len(every) == PICTURES
    assert report["counts"]["extra"]["requests"] >= PICTURES
    assert {len(row["image_urls"]) for row in first.values()} == {1}
    assert {len(row["image_urls"]) for row in every.values()} == {1, 19}
    for record_id, row in every.items():
        assert row["image_url"] == first[record_id]["image_url"] == row["media"][0]["url"]
        assert [file["url"] for file in row["media"]] == row["image_urls"]
    measured = [row["media"][0] for row in every.values() if row["media"][0]["width_px"]]
    assert len(measured) > PICTURES / 2
    assert {(file["mime"], file["width_px"], file["height_px"]) for file in measured} == {("image/jpeg", 80, 60)}
    assert any(row["media"][0]["iiif_service"] for row in every.values())


def test_a_collection_of_with_and_a_query_that_with_imports(platform, settings):
    session = requests.Session()
    login = {"email": "sandbox", "password": "sandbox"}
    session.post(f"{platform.url}/with/user/login", json=login, timeout=10).raise_for_status()
    form = {"collectionName": f"by hand {settings.with_collection}", "itemIds": [f"/7/r{n:03d}" for n in range(0, 50, 2)]}
    collection = session.post(f"{platform.url}/with/collection/importItems", json=form, timeout=10).json()["dbId"]
    _grown(session, f"{platform.url}/with/collection/{collection}", 25)

    key = start(settings, run_id="collection", selection=Selection("with_collection", collection), service="with")
    report = harvest(settings, key)
    assert report["harvest"]["state"] == "complete"
    assert set(record_ids(settings, key)) == set(form["itemIds"])
    row = next(row for row in record_rows(settings, key) if row["record_id"] == "/7/r010")
    assert (row["title"], row["data_provider"], row["provider"], row["year"]) == ("Title 10", "Museum", "Aggregator", 1900)
    assert row["rights"] == "http://rightsstatements.org/vocab/InC/1.0/" and row["rights_category"] == "permission"
    assert row["image_url"].endswith("/media/7/r010.jpg") and row["media"][0]["width_px"] == 80

    query = Selection("query", "europeana_id:\\/8\\/*")
    key = start(settings, run_id="query", selection=query, service="with")
    assert harvest(settings, key)["counts"]["inputs"] == PICTURES / 2
    some = start(settings, run_id="some", selection=query, service="with", source="some", max_records=12)
    assert (harvest(settings, some)["harvest"]["state"], len(record_ids(settings, some))) == ("partial", 12)
    harvest(settings, start(settings, run_id="some", selection=query, service="with", source="some", max_records=12))
    assert len(record_ids(settings, some)) == 24
    some = start(settings, run_id="some", selection=query, service="with", source="some")
    assert harvest(settings, some)["harvest"]["state"] == "complete" and len(record_ids(settings, some)) == PICTURES / 2
    gallery = start(settings, run_id="gallery", selection=Selection("gallery", "8"), service="with", source="gallery")
    assert harvest(settings, gallery)["counts"]["inputs"] == PICTURES / 2


def test_a_night_of_a_with_source_lists_it_whole_and_sees_what_has_left_the_collection(platform, settings):
    session = requests.Session()
    login = {"email": "sandbox", "password": "sandbox"}
    session.post(f"{platform.url}/with/user/login", json=login, timeout=10).raise_for_status()
    ids = [f"/8/r{n:03d}" for n in range(1, 12, 2)]
    form = {"collectionName": f"changing {settings.with_collection}", "itemIds": ids}
    collection = session.post(f"{platform.url}/with/collection/importItems", json=form, timeout=10).json()["dbId"]
    _grown(session, f"{platform.url}/with/collection/{collection}", len(ids))
    from tests.integration.archive import DAY, NEXT_DAY

    night = {
        "selection": Selection("with_collection", collection),
        "service": "with",
        "scope": Scope("window", start=DAY, end=NEXT_DAY),
    }
    harvest(settings, start(settings, run_id="first", **night))
    db_id = session.get(f"{platform.url}/with/collection/{collection}/getCollectedRecordIds", timeout=10).json()[
        "collectedRecordsIds"
    ][0]
    address = f"{platform.url}/with/collection/{collection}/removeRecord"
    session.delete(address, params={"recId": db_id}, timeout=10).raise_for_status()
    key = start(settings, run_id="second", **night)
    harvest(settings, key)
    assert set(record_ids(settings, key)) == set(ids[1:])
    assert [(row["record_id"], row["outcome"]) for row in outcome_rows(settings, key)] == [(ids[0], "gone")]


def test_a_folder_of_pictures_goes_all_the_way_to_usable_images(settings, tmp_path):
    folder = tmp_path / "pictures"
    write_pictures(folder, 6)
    with (folder / "metadata.csv").open("a", encoding="utf-8") as handle:
        handle.write("no slash,p0.jpg,,,,,,,,\n/7/outside,../secret.jpg,,,,,,,,\n/7/lost,gone.jpg,,,,,,,,\n")
    (tmp_path / "secret.jpg").write_bytes((folder / "p0.jpg").read_bytes())
    (folder / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    key = start(settings, selection=Selection("folder", str(folder)), service="folder")
    report = harvest(settings, key)
    assert report["counts"]["inputs"] == 9
    assert {row["input_id"]: row["reason"] for row in outcome_rows(settings, key)} == {
        "metadata.csv line 8": "missing_field",
        "metadata.csv line 9": "missing_field",
    }
    run_stage("images", key, settings)
    counts = open_lake(settings).read_json(f"{key.rpartition('/')[0]}/images.json")["counts"]
    assert (counts["inputs"], counts["ok"], counts["reasons"]) == (7, 6, {"gone": 1})


def test_a_picture_outside_of_the_folder_is_refused_whatever_the_records_say(tmp_path):
    from pipeline.images.download import read_file

    folder = tmp_path / "pictures"
    folder.mkdir()
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(b"secret")
    (folder / "link.jpg").symlink_to(secret)
    for url in (secret.as_uri(), (folder / "link.jpg").as_uri(), folder.as_uri() + "/../secret.jpg", "file:///etc/passwd"):
        found = read_file(url, folder, 1_000)
        assert (found.outcome, found.reason, found.content) == ("rejected", "ssrf_refused", None), url


def _grown(session, address, size):
    import time

    deadline = time.monotonic() + 20
    while session.get(address, timeout=10).json()["administrative"]["entryCount"] < size and time.monotonic() < deadline:
        time.sleep(0.05)
