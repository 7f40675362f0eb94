"""Image hosts behave as Europeana contract 5.1 and 7.1 (points 9 and 10) say real ones do, and the IIIF service as 3.3."""

import gzip
import io
import struct
import time
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import requests
from PIL import Image

from pipeline.sandbox.iiif import SyntaxRefused, region, size
from pipeline.sandbox.pictures import MADE, made
from pipeline.sandbox.process import SandboxProcess

TIMEOUT = 10
PLAIN = made("picture.jpg")


def ask(sandbox: SandboxProcess, path: str, host: int = 0, **options: Any) -> requests.Response:
    address = f"http://{sandbox.options.image_hosts[host]}:{sandbox.options.port}/_faulty/{path}"
    return requests.get(address, timeout=TIMEOUT, **options)


@pytest.mark.parametrize("hops", [0, 1, 3, 4])
def test_7_1_09_a_chain_of_redirects_has_the_length_that_is_asked_for(sandbox: SandboxProcess, hops: int) -> None:
    answer = ask(sandbox, f"redirect/{hops}/picture.jpg?status=307")
    assert len(answer.history) == hops and answer.content == PLAIN
    assert {one.status_code for one in answer.history} <= {307}


def test_7_1_09_redirects_lead_across_hosts(sandbox: SandboxProcess) -> None:
    answer = ask(sandbox, "across/3/picture.jpg")
    hosts = {requests.utils.urlparse(one.headers["Location"]).hostname for one in answer.history}
    assert hosts == set(sandbox.options.image_hosts) and answer.content == PLAIN


def test_7_1_09_a_loop_never_ends(sandbox: SandboxProcess) -> None:
    with pytest.raises(requests.TooManyRedirects):
        ask(sandbox, "loop/picture.jpg")


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("to-https/picture.jpg", "https://"),
        ("to/private/a.jpg", "http://10."),
        ("to/metadata/a.jpg", "http://169.254."),
        ("to/file/a.jpg", "file:"),
        ("to/credentials/a.jpg", "http://user:"),
    ],
)
def test_7_1_09_redirects_to_https_and_to_private_addresses(sandbox: SandboxProcess, path: str, target: str) -> None:
    answer = ask(sandbox, path, allow_redirects=False)
    assert answer.status_code in (301, 302) and answer.headers["Location"].startswith(target)


@pytest.mark.parametrize("status", [401, 403, 404, 410, 418, 429, 451, 500, 502, 503, 504])
def test_7_1_09_every_status_with_retry_after_where_it_belongs(sandbox: SandboxProcess, status: int) -> None:
    answer = ask(sandbox, f"status/{status}/picture.jpg?after=7")
    assert answer.status_code == status
    assert answer.headers.get("Retry-After") == ("7" if status in (429, 503) else None)


def test_7_1_09_retry_after_may_be_a_date(sandbox: SandboxProcess) -> None:
    text = ask(sandbox, "status/503/picture.jpg?after=date").headers["Retry-After"]
    assert 0 <= parsedate_to_datetime(text).timestamp() - time.time() < 3


@pytest.mark.parametrize("status", [429, 503])
def test_7_1_09_a_refusal_that_passes(sandbox: SandboxProcess, status: int) -> None:
    path = f"then-ok/{status}/2/one-{status}.jpg"
    answers = [ask(sandbox, path) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [status, status, 200]
    assert answers[0].headers["Retry-After"] == "1" and answers[2].content == PLAIN


def test_7_1_09_429_until_nobody_asks_for_a_while(sandbox: SandboxProcess) -> None:
    statuses = []
    for pause in (0.0, 0.1, 0.5):
        time.sleep(pause)
        statuses.append(ask(sandbox, "quiet/0.4/once.jpg").status_code)
    assert statuses == [429, 429, 200]


def test_7_1_09_slow_drip_and_stall(sandbox: SandboxProcess) -> None:
    begin = time.monotonic()
    with ask(sandbox, "slow/0.6/picture.jpg", stream=True) as answer:
        assert time.monotonic() - begin < 0.4
        assert answer.content == PLAIN and time.monotonic() - begin > 0.4
    with pytest.raises(requests.ReadTimeout):
        requests.get(f"{sandbox.url}/_faulty/stall/2/picture.jpg", timeout=0.3)


def test_7_1_09_a_body_without_end(sandbox: SandboxProcess) -> None:
    with ask(sandbox, "never/picture.jpg", stream=True) as answer:
        assert "Content-Length" not in answer.headers
        parts = answer.iter_content(1)
        assert b"".join(next(parts) for _ in range(202)).startswith(PLAIN[:200])


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("type/text/plain/picture.jpg", "text/plain"),
        ("type/image/jpeg/page.html", "image/jpeg"),
        ("octet-stream/picture.jpg", "application/octet-stream"),
        ("no-type/picture.jpg", None),
        ("html/picture.jpg", "text/html; charset=utf-8"),
        ("ok/page.jpg", "text/html; charset=utf-8"),
    ],
)
def test_7_1_09_wrong_and_missing_types_and_html_with_200(sandbox: SandboxProcess, path: str, expected: str | None) -> None:
    answer = ask(sandbox, path)
    assert (answer.status_code, answer.headers.get("Content-Type")) == (200, expected)


def test_7_1_09_zero_bytes_and_no_length(sandbox: SandboxProcess) -> None:
    assert ask(sandbox, "zero/picture.jpg").headers["Content-Length"] == "0"
    chunked = ask(sandbox, "chunked/picture.jpg")
    assert "Content-Length" not in chunked.headers and chunked.content == PLAIN


def test_7_1_09_a_body_that_ends_before_its_length(sandbox: SandboxProcess) -> None:
    with ask(sandbox, "truncated/picture.jpg", stream=True) as answer:
        assert int(answer.headers["Content-Length"]) == len(PLAIN)
        with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
            _ = answer.content
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        ask(sandbox, "cut/picture.jpg")


def test_7_1_09_a_truncated_jpeg_that_came_whole(sandbox: SandboxProcess) -> None:
    answer = ask(sandbox, "ok/half.jpg")
    with pytest.raises(OSError, match="truncated"):
        Image.open(io.BytesIO(answer.content)).load()


@pytest.mark.parametrize("path", ["reset/picture.jpg", "close/picture.jpg"])
def test_7_1_09_a_connection_that_is_cut(sandbox: SandboxProcess, path: str) -> None:
    with pytest.raises(requests.ConnectionError):
        ask(sandbox, path)
    assert ask(sandbox, "ok/picture.jpg").status_code == 200


def test_7_1_09_robots_headers_and_a_robots_txt_for_each_host(sandbox: SandboxProcess) -> None:
    for words in ("noai", "noai, noimageai", "noindex", "somebot: noai"):
        assert ask(sandbox, f"robots-tag/{words}/picture.jpg").headers["X-Robots-Tag"] == words
    texts = [requests.get(f"http://{host}:{sandbox.options.port}/robots.txt", timeout=TIMEOUT).text for host in
             sandbox.options.image_hosts]  # fmt: skip
    assert "/_faulty/private/" not in texts[0] and "Disallow: /_faulty/private/" in texts[1]
    assert all("Disallow: /private/" in text for text in texts)
    assert ask(sandbox, "private/picture.jpg").content == PLAIN


def test_7_1_09_huge_bodies_with_and_without_length(sandbox: SandboxProcess) -> None:
    with ask(sandbox, "huge/300/picture.jpg", stream=True) as answer:
        assert answer.headers["Content-Length"] == str(300 * 1024 * 1024)
    whole = ask(sandbox, "huge-chunked/2/picture.jpg")
    assert "Content-Length" not in whole.headers and len(whole.content) == 2 * 1024 * 1024
    assert whole.content.startswith(PLAIN)
    assert ask(sandbox, "huge/301/picture.jpg").status_code == 404


def test_7_1_09_bombs(sandbox: SandboxProcess) -> None:
    bomb = ask(sandbox, "ok/bomb.png").content
    assert struct.unpack(">II", bomb[16:24]) == (50_000, 50_000)  # what the header claims
    assert len(bomb) < 1_000_000
    packed = ask(sandbox, "gzip-bomb/5/picture.jpg", stream=True, headers={"Accept-Encoding": "identity"})
    raw = packed.raw.read(decode_content=False)
    assert len(raw) < 10_000 and len(gzip.decompress(raw)) == 5 * 1024 * 1024


@pytest.mark.parametrize(
    ("name", "form", "mode", "frames"),
    [
        ("cmyk.jpg", "JPEG", "CMYK", 1),
        ("16bit.tif", "TIFF", "I;16", 1),
        ("pages.tif", "TIFF", "RGB", 3),
        ("animated.gif", "GIF", "P", 2),
        ("alpha.png", "PNG", "RGBA", 1),
        ("grey.jpg", "JPEG", "L", 1),
        ("picture.webp", "WEBP", "RGB", 1),
    ],
)
def test_7_1_09_special_pictures(sandbox: SandboxProcess, name: str, form: str, mode: str, frames: int) -> None:
    answer = ask(sandbox, f"ok/{name}")
    with Image.open(io.BytesIO(answer.content)) as image:
        assert (image.format, image.mode, getattr(image, "n_frames", 1)) == (form, mode, frames)
    assert answer.headers["Content-Type"] == f"image/{form.lower()}"


def test_7_1_09_every_picture_can_be_had(sandbox: SandboxProcess) -> None:
    for name in MADE:
        assert ask(sandbox, f"ok/{name}").content == made(name)


def test_7_1_09_conditional_requests(sandbox: SandboxProcess) -> None:
    first = ask(sandbox, "etag/picture.jpg")
    for headers in ({"If-None-Match": first.headers["ETag"]}, {"If-Modified-Since": first.headers["Last-Modified"]}):
        assert ask(sandbox, "etag/picture.jpg", headers=headers).status_code == 304
        assert ask(sandbox, "etag/picture.jpg?v=2", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "path",
    ["none/picture.jpg", "redirect/picture.jpg", "redirect/x/a.jpg", "status/200/a.jpg", "slow/x/a.jpg", "etag/a.jpg?v=x"],
)
def test_unknown_behaviours_are_404(sandbox: SandboxProcess, path: str) -> None:
    assert ask(sandbox, path).status_code == 404


def test_7_1_10_unknown_thumbnails_are_an_icon_in_v2_and_404_in_v3(sandbox: SandboxProcess) -> None:
    sizes = {"IMAGE": 2319, "SOUND": 2484, "VIDEO": 1932, "TEXT": 2180, "3D": 3012}
    for kind, size_in_bytes in sizes.items():
        address = f"{sandbox.url}/europeana/thumbnail/v2/url.json?uri=http%3A%2F%2Fx%2Fy&type={kind}"
        answer = requests.get(address, timeout=TIMEOUT)
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/png")
        assert len(answer.content) == size_in_bytes
        Image.open(io.BytesIO(answer.content)).load()
    missing = requests.get(f"{sandbox.url}/europeana/thumbnail/v3/400/{'0' * 32}", timeout=TIMEOUT)
    assert missing.status_code == 404


IIIF = "/iiif/90402/SK_04"  # 1000 × 500


def iiif(sandbox: SandboxProcess, rest: str, **options: Any) -> requests.Response:
    return requests.get(f"{sandbox.url}{IIIF}{rest}", timeout=TIMEOUT, **options)


def test_iiif_describes_itself(sandbox: SandboxProcess) -> None:
    base = iiif(sandbox, "", allow_redirects=False)
    assert (base.status_code, base.headers["Location"]) == (303, f"{sandbox.url}{IIIF}/info.json")
    info = iiif(sandbox, "/info.json")
    body = info.json()
    assert body["@context"] == "http://iiif.io/api/image/2/context.json" and body["@id"] == f"{sandbox.url}{IIIF}"
    assert (body["width"], body["height"]) == (1000, 500)
    assert body["profile"][0] == "http://iiif.io/api/image/2/level1.json"
    assert {"width": 400, "height": 200} in body["sizes"] and info.headers["Access-Control-Allow-Origin"] == "*"
    linked = iiif(sandbox, "/info.json", headers={"Accept": "application/ld+json"})
    assert linked.headers["Content-Type"].startswith("application/ld+json")


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("full/max", (1000, 500)),
        ("full/400,", (400, 200)),
        ("full/,100", (200, 100)),
        ("full/300,300", (300, 300)),
        ("full/!400,400", (400, 200)),
        ("full/!4000,4000", (1000, 500)),
        ("full/pct:10", (100, 50)),
        ("square/max", (500, 500)),
        ("900,400,500,500/max", (100, 100)),
        ("0,0,200,100/100,", (100, 50)),
    ],
)
def test_iiif_regions_and_sizes(sandbox: SandboxProcess, rest: str, expected: tuple[int, int]) -> None:
    answer = iiif(sandbox, f"/{rest}/0/default.jpg")
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert Image.open(io.BytesIO(answer.content)).size == expected


@pytest.mark.parametrize(
    "rest",
    [
        "full/max/90/default.jpg",
        "full/max/0/gray.jpg",
        "full/max/0/default.png",
        "full/1001,/0/default.jpg",
        "full/,/0/default.jpg",
        "full/0,/0/default.jpg",
        "full/!0,9/0/default.jpg",
        "full/pct:0/0/default.jpg",
        "full/pct:101/0/default.jpg",
        "full/x/0/default.jpg",
        "1,2,3/max/0/default.jpg",
        "0,0,0,5/max/0/default.jpg",
        "1000,0,5,5/max/0/default.jpg",
        "pct:1,2,3,4/max/0/default.jpg",
    ],
)
def test_iiif_refuses_what_its_level_does_not_have(sandbox: SandboxProcess, rest: str) -> None:
    assert iiif(sandbox, f"/{rest}").status_code == 400


@pytest.mark.parametrize("name", ["SK_99", "SK_09", "SK_11"])
def test_iiif_has_no_image_for_unknown_broken_and_pictureless_records(sandbox: SandboxProcess, name: str) -> None:
    for rest in ("", "/info.json", "/full/max/0/default.jpg"):
        assert requests.get(f"{sandbox.url}/iiif/90402/{name}{rest}", timeout=TIMEOUT).status_code == 404


def test_iiif_arithmetic_at_its_edges() -> None:
    assert size("10,", 4000, 40) == (10, 1)
    assert size("!10,10", 4000, 40) == (10, 1)
    assert region("3999,39,5,5", 4000, 40) == (3999, 39, 4000, 40)
    with pytest.raises(SyntaxRefused):
        size("0,0", 5, 5)
