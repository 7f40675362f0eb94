"""The pages over a small lake, read as a browser reads them."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from fastapi import Depends, FastAPI, HTTPException
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from tiny_lake import CITY, COIN, FULL_TITLE, JAR, LOST, WriteRun

from pipeline.settings import Settings
from pipeline.web import create_app, pages


def page(client: TestClient, path: str, status: int = 200) -> BeautifulSoup:
    reply = client.get(path)
    assert reply.status_code == status
    assert reply.headers["content-type"].startswith("text/html")
    return BeautifulSoup(reply.text, "html.parser")


def addresses(soup: BeautifulSoup) -> Iterator[str]:
    for tag in soup.find_all(["a", "img", "link", "script"]):
        yield str(tag.get("href") or tag.get("src") or "")


def test_home_shows_the_figures_and_every_record_of_the_newest_run(client: TestClient) -> None:
    soup = page(client, "/")
    assert soup.h1.text == "Run night-1"
    assert [card.b.text for card in soup.select(".card")] == ["5", "4", "3", "2", "2", "3"]
    assert [item.a["href"] for item in soup.select(".grid li")][:2] == [f"/records{COIN}", f"/records{JAR}"]
    assert len(soup.select(".grid img")) == 4
    assert soup.select_one(".grid .none").text == "no usable picture"


def test_the_grid_is_paged(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PAGE_SIZE", 2)
    seen = []
    path = "/"
    while path:
        soup = page(client, path)
        seen.append([item.a["href"] for item in soup.select(".grid li")])
        following = soup.select_one("a[rel=next]")
        path = f"/{following['href']}" if following else ""
    assert [len(links) for links in seen] == [2, 2, 1]
    assert len({link for links in seen for link in links}) == 5
    assert soup.select_one("a[rel=prev]")["href"] == "?page=2"
    assert "there are 3 pages" in page(client, "/?page=4", 404).text.lower()


def test_an_older_run_can_be_looked_at(settings: Settings, write_run: WriteRun) -> None:
    write_run("all", 1)
    write_run("small", 2, records=(JAR,))
    client = TestClient(create_app(settings))
    assert len(page(client, "/").select(".grid li")) == 1
    assert len(page(client, "/?run=all").select(".grid li")) == 5
    page(client, "/?run=none", 404)


def test_a_run_without_records_has_a_page(settings: Settings, write_run: WriteRun) -> None:
    write_run("quiet", records=())
    assert "found no records" in page(TestClient(create_app(settings)), "/").text


def test_without_a_finished_run_home_says_what_to_do(settings: Settings, write_run: WriteRun) -> None:
    write_run("broken-off", finished=False)
    soup = page(TestClient(create_app(settings)), "/")
    assert "No run has finished yet" in soup.text
    assert "make run" in soup.text


def test_a_record_page_shows_picture_metadata_labels_and_related_images(client: TestClient) -> None:
    soup = page(client, f"/records{COIN}")
    assert soup.figure.img["src"] == f"/v1/records{COIN}/image"
    assert "A museum" in soup.dl.text
    assert [" ".join(tag.text.split()) for tag in soup.select(".tag")] == ["coin 0.97", "map 0.40"]
    assert [tag["class"][1] for tag in soup.select(".tag")] == ["publish", "review"]
    related = soup.select(".grid li")
    assert related[0].a["href"] == f"/records{JAR}"
    assert [chip.text for chip in related[0].select(".chip")] == ["looks alike 90 %", "both: coin"]
    assert "textile" not in soup.text


@pytest.mark.parametrize("record_id", [LOST, CITY])
def test_a_record_page_copes_with_what_is_missing(client: TestClient, record_id: str) -> None:
    soup = page(client, f"/records{record_id}")
    assert "No related images" in soup.text


def test_harvested_text_is_never_markup(client: TestClient) -> None:
    for path in ("/", f"/records{COIN}"):
        soup = page(client, path)
        assert soup.find("script") is None
        assert FULL_TITLE in soup.text
    assert "Found <b>in</b> a field." in soup.text


def test_a_harvested_address_that_is_no_web_address_is_no_link(client: TestClient) -> None:
    assert not [address for address in addresses(page(client, f"/records{COIN}")) if address.startswith("javascript:")]


def test_the_report_is_served_as_it_was_stored(client: TestClient) -> None:
    assert client.get("/runs/night-1").content == b"<h1>The stored report</h1>"


@pytest.mark.parametrize("path", ["/records/100/none", "/runs/none", "/nowhere"])
def test_what_does_not_exist_has_a_page_that_leads_back(client: TestClient, path: str) -> None:
    assert page(client, path, 404).select_one("main a")["href"] == "/"


@pytest.mark.parametrize("path", ["/", f"/records{COIN}", f"/v1/records{COIN}/image", "/v1/runs", "/health", "/nowhere"])
def test_every_answer_carries_the_security_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    for rule in ("default-src 'self'", "img-src 'self' data:", "style-src 'self' 'unsafe-inline'", "frame-ancestors 'self'"):
        assert rule in policy
    assert headers["x-content-type-options"] == "nosniff"


def test_links_stay_below_the_prefix_of_a_mount(settings: Settings, write_run: WriteRun) -> None:
    write_run()
    root = FastAPI()
    root.mount("/enrichment", create_app(settings))
    client = TestClient(root)
    for path in ("/enrichment/", f"/enrichment/records{COIN}", "/enrichment/nowhere"):
        soup = BeautifulSoup(client.get(path).text, "html.parser")
        inside = [address for address in addresses(soup) if not re.match(r"(https?:|data:|\?)", address)]
        assert inside
        assert all(address.startswith("/enrichment/") for address in inside)
        assert all(client.get(address).status_code == 200 for address in inside if LOST not in address)
    related = client.get(f"/enrichment/v1/records{COIN}/related").json()["suggestions"]
    assert client.get(related[0]["thumbnail"]).status_code == 200
    assert client.get("/enrichment/v1/runs/none").json()["detail"]


def test_the_pages_load_nothing_from_elsewhere() -> None:
    for template in (Path(pages.__file__).parent / "templates").iterdir():
        assert not re.search(r"(src|<link[^>]*href)=\"(https?:)?//", template.read_text(encoding="utf-8"))


def refuse() -> None:
    raise HTTPException(401, "who are you?")


def test_the_dependencies_guard_every_route_but_health(settings: Settings, write_run: WriteRun) -> None:
    write_run()
    app = create_app(settings, [Depends(refuse)])
    client = TestClient(app)
    values = {"dataset": "100", "local": "coin", "run_id": "night-1"}
    paths = [path.format(**values) for path in all_paths(app)]
    assert len(paths) == 11
    refused = {path for path in paths if client.get(path).status_code == 401}
    assert set(paths) - refused == {"/health"}
    assert client.get("/health").json() == {"status": "ok"}
    for standard in ("/docs", "/redoc", "/openapi.json"):
        assert client.get(standard).status_code == 404


def test_a_guarded_picture_stays_out_of_shared_caches(settings: Settings, write_run: WriteRun) -> None:
    write_run()
    client = TestClient(create_app(settings, [Depends(lambda: None)]))
    assert client.get(f"/v1/records{COIN}/image").headers["cache-control"].startswith("private")


def all_paths(app: FastAPI) -> list[str]:
    return [route.path for route in app.routes if isinstance(route, APIRoute)]
