"""One suite for every object store: a local folder, and two S3 servers on loopback; then what only S3 can get wrong."""

import errno
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.datasets.lake import Lake, as_table
from pipeline.datasets.run import Run
from pipeline.datasets.schemas import OUTCOMES
from pipeline.domain.scope import Scope, Selection
from pipeline.errors import CriticalError, TransientError
from pipeline.sandbox.process import free_port
from pipeline.storage import ObjectStore, S3Store, open_store, s3
from tests.integration.s3_server import (
    BUCKET,
    Answer,
    Asked,
    FailingServer,
    NotAvailable,
    S3Server,
    failing_server,
    moto_server,
    one_after_the_other,
    s3rver_server,
)

# The store is made once for all examples: they only read.
READING = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
CONTENT = bytes(number * 7 % 251 for number in range(300_000))  # several gaps long, and no two places look alike
OFFSETS = st.one_of(st.integers(0, 40), st.integers(0, len(CONTENT) + 100))
SIZES = st.one_of(st.integers(0, 40), st.integers(0, len(CONTENT) + 100))
RANGES = st.lists(st.tuples(OFFSETS, SIZES), max_size=12)
SERVERS = ["moto", "s3rver"]


@pytest.fixture(scope="session")
def moto() -> Iterator[S3Server]:
    with moto_server() as server:
        server.create_bucket()
        yield server


@pytest.fixture(scope="session")
def s3rver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    try:
        with s3rver_server(tmp_path_factory.mktemp("s3rver")) as server:
            server.create_bucket()
            yield server
    except NotAvailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(params=["folder", *SERVERS])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """An empty store of each kind."""
    if request.param == "folder":
        return open_store((tmp_path / "lake").as_uri())
    return _opened(request.getfixturevalue(request.param), tmp_path, monkeypatch)


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """Each S3 server, with the environment for it."""
    found: S3Server = request.getfixturevalue(request.param)
    _opened(found, tmp_path, monkeypatch)
    return found


@pytest.fixture
def failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[S3Store, FailingServer]]]:
    """Open a store on a server that gives these answers."""
    with failing_server(lambda _: Answer(500)) as script:

        def start(*answers: Answer, by: Callable[[Asked], Answer] | None = None) -> tuple[S3Store, FailingServer]:
            script.answer = by or one_after_the_other(*answers)
            return _opened(S3Server("failing", script.url), tmp_path, monkeypatch), script

        monkeypatch.setattr(s3, "_REQUEST_ATTEMPTS", 3)
        monkeypatch.setattr(s3, "_BODY_PAUSES_S", (0, 0))
        monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: None))
        monkeypatch.setattr(s3, "_READ_TIMEOUT_S", 0.5)
        yield start


def _opened(server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    for name, value in server.environment(tmp_path / "none").items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    # A prefix of its own for each test keeps them apart.
    store = open_store(f"s3://{BUCKET}/house/{tmp_path.name}", s3_endpoint_url=server.url)
    assert isinstance(store, S3Store)
    return store


def _every_call(store: ObjectStore, path: Path) -> dict[str, Callable[[], object]]:
    """Each method of the port that talks to a server, as a call without arguments."""
    path.write_bytes(b"1")
    return {
        "put_bytes": lambda: store.put_bytes("a", b"1"),
        "put_file": lambda: store.put_file("a", path),
        "get_bytes": lambda: store.get_bytes("a"),
        "get_range": lambda: store.get_range("a", 0, 1),
        "get_ranges": lambda: list(store.get_ranges("a", [(0, 1)])),
        "local_copy": lambda: store.local_copy("a").__enter__(),
        "exists": lambda: store.exists("a"),
        "list": lambda: list(store.list("")),
        "delete": lambda: store.delete("a"),
    }


CALLS = ["put_bytes", "put_file", "get_bytes", "get_range", "get_ranges", "local_copy", "exists", "list", "delete"]


def test_what_is_written_is_read_back(store: ObjectStore) -> None:
    store.put_bytes("a/b.bin", b"\x00\xff" * 10)
    assert store.get_bytes("a/b.bin") == b"\x00\xff" * 10


def test_writing_again_replaces_the_whole_object(store: ObjectStore) -> None:
    store.put_bytes("a", b"a long first version")
    store.put_bytes("a", b"short")
    assert store.get_bytes("a") == b"short"


def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    store.put_bytes("empty", b"")
    assert store.exists("empty") and store.get_bytes("empty") == b""


def test_a_large_file_goes_up_whole(store: ObjectStore, tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(b"0123456789abcdef" * 600_000)  # more than one part of a multipart upload
    store.put_file("shards/big.tar", path)
    assert store.get_range("shards/big.tar", 9_599_990, 10) == b"6789abcdef"
    assert len(store.get_bytes("shards/big.tar")) == 9_600_000


@pytest.mark.parametrize(
    ("offset", "size", "expected"),
    [(0, 3, b"012"), (3, 4, b"3456"), (9, 1, b"9"), (7, 100, b"789"), (4, 0, b""), (0, 10, b"0123456789")],
)
def test_a_range_is_exactly_the_bytes_asked_for(store: ObjectStore, offset: int, size: int, expected: bytes) -> None:
    store.put_bytes("digits", b"0123456789")
    assert store.get_range("digits", offset, size) == expected


def test_an_absent_key_is_file_not_found_wherever_it_is_read(store: ObjectStore) -> None:
    store.put_bytes("there/x", b"1")
    for key in ("absent", "there/y", "other/x"):
        assert not store.exists(key)
        with pytest.raises(FileNotFoundError):
            store.get_bytes(key)
        with pytest.raises(FileNotFoundError):
            store.get_range(key, 0, 1)
        with pytest.raises(FileNotFoundError), store.local_copy(key):
            pass


def test_only_the_very_key_exists(store: ObjectStore) -> None:
    store.put_bytes("runs/run=1/run.json", b"{}")
    assert store.exists("runs/run=1/run.json")
    assert not store.exists("runs/run=1/run")
    assert not store.exists("runs/run=1")


def test_a_local_copy_has_the_objects_bytes(store: ObjectStore) -> None:
    store.put_bytes("x/part.parquet", b"bytes")
    with store.local_copy("x/part.parquet") as path:
        assert path.read_bytes() == b"bytes"
    assert store.get_bytes("x/part.parquet") == b"bytes"


def test_listing_gives_the_keys_under_a_prefix_in_order(store: ObjectStore) -> None:
    for key in ("b/2", "a/part-00010", "a/part-00002", "a/other", "a/sub/part-1", "ab/1", "a/part-00001"):
        store.put_bytes(key, b"1")
    assert list(store.list("a/part-")) == ["a/part-00001", "a/part-00002", "a/part-00010"]
    assert list(store.list("a/")) == ["a/other", "a/part-00001", "a/part-00002", "a/part-00010", "a/sub/part-1"]
    assert list(store.list("a")) == [*store.list("a/"), "ab/1"]
    assert set(store.list("")) == {*store.list("a"), "b/2"}
    assert list(store.list("nothing/here/")) == []


def test_more_keys_than_one_page_are_listed(store: ObjectStore) -> None:
    # Amazon's servers give at most 1,000 keys a page.
    keys = [f"many/{number:05d}" for number in range(1_010)]
    for key in keys:
        store.put_bytes(key, b"")
    assert list(store.list("many/")) == keys


def test_deleting_removes_one_key_and_an_absent_one_is_fine(store: ObjectStore) -> None:
    store.put_bytes("a/1", b"1")
    store.put_bytes("a/2", b"2")
    store.delete("a/1")
    store.delete("a/1")
    assert list(store.list("")) == ["a/2"]


def test_an_address_is_the_root_and_the_key(store: ObjectStore) -> None:
    assert store.root.startswith(("file:///", "s3://lake/house/"))
    assert store.address("a/b=c/d.json") == f"{store.root}/a/b=c/d.json"


def test_a_run_is_published_and_read_on_every_store(store: ObjectStore) -> None:
    run = Run("r1", "default", Selection("query", "*:*"), Scope("full"), datetime(2026, 1, 1, tzinfo=UTC))
    row = {"stage": "x", "input_id": "/1/a", "record_id": None, "outcome": "gone", "reason": "gone", "detail": "", "attempt": 1}
    lake = Lake(store)
    lake.save_run(run)
    leftover = lake.write_part(run, "outcomes", 7, [as_table("outcomes", [row | run.columns()])], OUTCOMES)
    part = lake.write_part(run, "outcomes", 0, [as_table("outcomes", [row | run.columns()])], OUTCOMES)
    lake.publish(run, "outcomes", [part])
    assert not store.exists(leftover.key)
    assert [found["input_id"] for batch in lake.rows(lake.run(run.key), "outcomes") for found in batch.to_pylist()] == ["/1/a"]


def test_listing_is_in_order_where_folders_and_names_meet(store: ObjectStore) -> None:
    keys = ["a/x", "a-b", "a.b", "a0", "ab/c", "A", "B/c", "é", "\uffee", "\U0001f600/x"]
    for key in keys:
        store.put_bytes(f"odd/{key}", b"1")
    assert list(store.list("odd/")) == sorted(f"odd/{key}" for key in keys)


@pytest.mark.parametrize(
    "key",
    ["a b", "a+b", "ä/ö ü", "日本/x", "e\u0301", "a%20b", "100%", "a&b<c>", "a=b/c:d", "q?x#y", "x'y\"z", "a~b", "(a)*!,;@$"],
)
def test_a_key_with_any_characters_is_kept(store: ObjectStore, key: str) -> None:
    store.put_bytes(key, key.encode())
    assert store.exists(key) and store.get_bytes(key) == key.encode() == store.get_range(key, 0, 99)
    assert list(store.list("")) == list(store.list(key)) == [key]
    with store.local_copy(key) as path:
        assert path.read_bytes() == key.encode()
    store.delete(key)
    assert not store.exists(key)


def test_a_folder_and_a_path_below_an_object_are_absent_keys(store: ObjectStore) -> None:
    store.put_bytes("a/b", b"1")
    for key in ("a", "a/b/c"):
        for read in (
            lambda key: store.get_bytes(key),
            lambda key: store.get_range(key, 0, 1),
            lambda key: store.get_range(key, 0, 0),
        ):
            with pytest.raises(FileNotFoundError, match=key):
                read(key)


def test_nothing_of_an_absent_object_is_absent_too(store: ObjectStore) -> None:
    with pytest.raises(FileNotFoundError):
        store.get_range("absent", 0, 0)
    with pytest.raises(FileNotFoundError):
        next(store.get_ranges("absent", [(0, 0)]))
    with pytest.raises(FileNotFoundError):
        next(store.get_ranges("absent", [(0, 1), (5, 1)]))
    assert list(store.get_ranges("absent", [])) == []


@pytest.mark.parametrize(("offset", "size"), [(10, 1), (10, 0), (11, 5), (10**15, 10**9)])
def test_a_range_behind_the_end_is_empty(store: ObjectStore, offset: int, size: int) -> None:
    store.put_bytes("digits", b"0123456789")
    assert store.get_range("digits", offset, size) == b""
    assert list(store.get_ranges("digits", [(8, 4), (offset, size)])) == [b"89", b""]


def test_a_size_beyond_all_memory_gives_what_there_is(store: ObjectStore) -> None:
    store.put_bytes("digits", b"0123456789")
    assert store.get_range("digits", 4, 10**15) == b"456789"


@pytest.mark.parametrize(("offset", "size"), [(-1, 1), (0, -1), (-3, 0), (-5, -5)])
def test_a_negative_range_is_refused(store: ObjectStore, offset: int, size: int) -> None:
    store.put_bytes("digits", b"0123456789")
    with pytest.raises(ValueError, match="offset"):
        store.get_range("digits", offset, size)
    with pytest.raises(ValueError, match="offset"):
        next(store.get_ranges("digits", [(0, 1), (offset, size)]))


def test_ranges_are_what_slicing_gives_in_the_order_asked_for(store: ObjectStore) -> None:
    store.put_bytes("content", CONTENT)

    @READING
    @given(RANGES)
    def check(ranges: list[tuple[int, int]]) -> None:
        expected = [CONTENT[offset : offset + size] for offset, size in ranges]
        assert list(store.get_ranges("content", ranges)) == expected
        for (offset, size), part in list(zip(ranges, expected, strict=True))[:2]:
            assert store.get_range("content", offset, size) == part

    check()


def test_a_reader_may_stop_after_some_of_the_ranges(store: ObjectStore) -> None:
    store.put_bytes("digits", b"0123456789")
    parts = store.get_ranges("digits", [(0, 2), (2, 2), (4, 2)])
    assert [next(parts), next(parts)] == [b"01", b"23"]


def test_thousands_of_members_of_a_shard_are_a_few_requests(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    store = S3Store(BUCKET, "members", endpoint_url=server.url)
    content = bytes(range(256)) * 40_000  # 10 MB
    store.put_bytes("shard.tar", content)
    members = [(number * 4_096 + 512, 3_000) for number in range(2_400)]
    asked, get_range = [], S3Store.get_range

    def counted(store: S3Store, key: str, offset: int, size: int) -> bytes:
        asked.append(size)
        return get_range(store, key, offset, size)

    monkeypatch.setattr(S3Store, "get_range", counted)
    assert list(store.get_ranges("shard.tar", members)) == [content[offset : offset + size] for offset, size in members]
    assert len(asked) == 2 and max(asked) <= 8 * 1024 * 1024


def test_a_file_of_several_parts_goes_up_and_comes_down_whole(server: S3Server, tmp_path: Path) -> None:
    store = S3Store(BUCKET, "parts", endpoint_url=server.url)
    path = tmp_path / "big"
    with path.open("wb") as handle:
        for number in range(40):  # 40 MB: three parts of at most 16 MB
            handle.write(number.to_bytes(4) * 262_144)
    store.put_file("big", path)
    with store.local_copy("big") as copy:
        assert copy.stat().st_size == path.stat().st_size
        assert copy.read_bytes() == path.read_bytes()


def test_one_store_serves_many_threads(store: ObjectStore) -> None:
    def turn(number: int) -> bool:
        store.put_bytes(f"{number}", str(number).encode() * 1_000)
        return store.get_bytes(f"{number}") == str(number).encode() * 1_000

    with ThreadPoolExecutor(12) as threads:
        assert all(threads.map(turn, range(120)))


def _reads_its_own(store: ObjectStore, name: str) -> None:
    for _ in range(40):
        assert store.get_bytes(name) == name.encode() * 20_000


def test_a_forked_child_reads_beside_its_parent(store: ObjectStore) -> None:
    for name in ("parent", "child"):
        store.put_bytes(name, name.encode() * 20_000)
    _reads_its_own(store, "parent")  # a connection is open now
    child = multiprocessing.get_context("fork").Process(target=_reads_its_own, args=(store, "child"))
    child.start()
    _reads_its_own(store, "parent")
    child.join(60)
    assert child.exitcode == 0


@pytest.mark.parametrize("call", CALLS)
def test_a_bucket_that_is_not_there_is_named_with_its_setting(server: S3Server, tmp_path: Path, call: str) -> None:
    store = S3Store("no-such-bucket", "x", endpoint_url=server.url)
    with pytest.raises(CriticalError, match=f"STORAGE_URL.*'no-such-bucket'.*{server.url}"):
        _every_call(store, tmp_path / "file")[call]()


@pytest.mark.parametrize("call", CALLS)
def test_a_server_out_of_reach_is_passing_trouble_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    monkeypatch.setattr(s3, "_REQUEST_ATTEMPTS", 2)
    url = f"http://127.0.0.1:{free_port()}"
    store = _opened(S3Server("nobody", url), tmp_path, monkeypatch)
    with pytest.raises(TransientError, match=url):
        _every_call(store, tmp_path / "file")[call]()


@pytest.mark.parametrize("call", CALLS)
def test_a_key_that_the_server_does_not_know_is_critical(
    s3rver: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    # moto takes any key.
    store = _opened(S3Server("s3rver", s3rver.url, "STRANGER"), tmp_path, monkeypatch)
    with pytest.raises(CriticalError, match="AWS_ACCESS_KEY_ID"):
        _every_call(store, tmp_path / "file")[call]()


@pytest.mark.parametrize("call", CALLS)
def test_no_credentials_at_all_are_critical(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(CriticalError, match="AWS_ACCESS_KEY_ID"):
        _every_call(S3Store(BUCKET, "x", endpoint_url=server.url), tmp_path / "file")[call]()


def test_half_of_the_credentials_and_an_impossible_bucket_are_critical(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CriticalError, match="STORAGE_URL"):
        S3Store("no bucket", "x", endpoint_url=server.url).get_bytes("a")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(CriticalError, match="AWS_"):
        S3Store(BUCKET, "x", endpoint_url=server.url).get_bytes("a")


def test_an_endpoint_that_is_no_address_is_named_with_its_setting() -> None:
    with pytest.raises(CriticalError, match="S3_ENDPOINT_URL"):
        S3Store(BUCKET, "x", endpoint_url="nonsense")


def test_a_body_that_breaks_off_is_read_again(failing: Callable[..., tuple[S3Store, FailingServer]]) -> None:
    broken, whole = Answer(body=b"0123456789", sent=4), Answer(body=b"0123456789")
    store, script = failing(broken, broken, whole)
    assert store.get_bytes("a") == b"0123456789"
    assert script.methods == ["GET"] * 3


def test_a_range_that_breaks_off_is_read_again(failing: Callable[..., tuple[S3Store, FailingServer]]) -> None:
    store, _ = failing(Answer(206, b"3456", sent=0), Answer(206, b"3456"), Answer(206, b"3456", sent=1), Answer(206, b"3456"))
    assert store.get_range("a", 3, 4) == b"3456"
    assert list(store.get_ranges("a", [(3, 2), (5, 2)])) == [b"34", b"56"]


@pytest.mark.parametrize("stalls", [False, True])
@pytest.mark.parametrize("call", ["get_bytes", "get_range", "get_ranges", "local_copy"])
def test_a_body_that_never_ends_well_is_passing_trouble(
    failing: Callable[..., tuple[S3Store, FailingServer]], tmp_path: Path, call: str, stalls: bool
) -> None:
    store, script = failing(Answer(206 if "range" in call else 200, b"0123456789", sent=4, stalls=stalls))
    with pytest.raises(TransientError, match=f"a at {script.url}"):
        _every_call(store, tmp_path / "file")[call]()
    assert len(script.asked) in (3, 5)  # ours, and those of boto3 for a file


def test_a_server_that_ignores_ranges_still_gives_the_right_bytes(
    failing: Callable[..., tuple[S3Store, FailingServer]],
) -> None:
    store, _ = failing(Answer(200, b"0123456789"))
    assert store.get_range("a", 3, 4) == b"3456"
    assert list(store.get_ranges("a", [(8, 9), (0, 2)])) == [b"89", b"01"]


@pytest.mark.parametrize("status", [500, 503, 429, 409])
@pytest.mark.parametrize("call", CALLS)
def test_a_server_in_trouble_is_passing_trouble(
    failing: Callable[..., tuple[S3Store, FailingServer]], tmp_path: Path, call: str, status: int
) -> None:
    store, script = failing(Answer(status, b"<html>busy</html>"))
    with pytest.raises(TransientError, match=script.url):
        _every_call(store, tmp_path / "file")[call]()


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("call", CALLS)
def test_a_refusal_names_the_credentials(
    failing: Callable[..., tuple[S3Store, FailingServer]], tmp_path: Path, call: str, status: int
) -> None:
    store, script = failing(Answer(status, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"))
    with pytest.raises(CriticalError, match="AWS_ACCESS_KEY_ID"):
        _every_call(store, tmp_path / "file")[call]()
    assert len(script.asked) == 1


@pytest.mark.parametrize("call", CALLS)
def test_a_server_that_is_no_s3_has_no_such_bucket(
    failing: Callable[..., tuple[S3Store, FailingServer]], tmp_path: Path, call: str
) -> None:
    store, _ = failing(Answer(404, b"<html>Not here</html>"))
    with pytest.raises(CriticalError, match="STORAGE_URL"):
        _every_call(store, tmp_path / "file")[call]()


def test_deleting_what_a_server_calls_absent_is_fine(failing: Callable[..., tuple[S3Store, FailingServer]]) -> None:
    store, _ = failing(Answer(404, b"<Error><Code>NoSuchKey</Code></Error>"))
    store.delete("a")


def test_the_bucket_is_looked_for_once(failing: Callable[..., tuple[S3Store, FailingServer]]) -> None:
    store, script = failing(by=lambda asked: Answer(404 if "/house/" in asked.path else 200))
    assert not any(store.exists(str(number)) for number in range(5))
    assert [request.path for request in script.asked].count(f"/{BUCKET}") == 1


def test_a_write_that_was_answered_with_an_error_is_sent_again_whole(
    failing: Callable[..., tuple[S3Store, FailingServer]], tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    for put in (lambda store: store.put_bytes("a", CONTENT), lambda store: store.put_file("a", path)):
        store, script = failing(Answer(500), Answer(503), Answer(200))
        script.asked.clear()
        put(store)
        assert [(request.method, request.body == CONTENT) for request in script.asked] == [("PUT", True)] * 3


def test_an_upload_that_fails_leaves_no_parts_behind(
    failing: Callable[..., tuple[S3Store, FailingServer]], tmp_path: Path
) -> None:
    def answer(asked: Asked) -> Answer:
        if asked.method == "POST":
            return Answer(200, b"<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>")
        return Answer(500 if "partNumber=2" in asked.path else 200)

    store, script = failing(by=answer)
    path = tmp_path / "big"
    path.write_bytes(bytes(40 * 1024 * 1024))
    with pytest.raises(TransientError, match="big at"):
        store.put_file("big", path)
    assert script.asked[-1].method == "DELETE" and "uploadId=u1" in script.asked[-1].path
    assert max(len(request.body) for request in script.asked) == 16 * 1024 * 1024


def _page(keys: list[str], following: str = "") -> bytes:
    entries = "".join(f"<Contents><Key>{key}</Key></Contents>" for key in keys)
    token = f"<NextContinuationToken>{following}</NextContinuationToken>" if following else ""
    more = f"<IsTruncated>{'true' if following else 'false'}</IsTruncated>{token}"
    return f"<ListBucketResult>{more}{entries}</ListBucketResult>".encode()


BROKEN_PAGES = {
    "error": Answer(500),
    "half-a-tag": Answer(200, b"<ListBucketResult><Cont"),
    "web-page": Answer(200, b"<html>Welcome</html>"),
    "empty": Answer(200),
    "cut": Answer(200, _page(["b"]), sent=90),
    "stall": Answer(200, _page(["b"]), sent=90, stalls=True),
}


@pytest.mark.parametrize("second", BROKEN_PAGES.values(), ids=BROKEN_PAGES)
def test_a_listing_that_breaks_on_its_second_page_gives_no_key_at_all(
    failing: Callable[..., tuple[S3Store, FailingServer]], second: Answer
) -> None:
    store, script = failing(by=lambda asked: second if "continuation-token" in asked.path else Answer(200, _page(["a"], "t")))
    seen = []
    with pytest.raises(TransientError, match=script.url):
        seen.extend(store.list(""))
    assert seen == []


CHANGED = b"<Error><Code>PreconditionFailed</Code></Error>"


@pytest.mark.parametrize("answer", [Answer(206, b"34", content_range="bytes 3-4/9"), Answer(412, CHANGED)])
def test_a_local_copy_of_an_object_that_changes_meanwhile_is_passing_trouble(
    failing: Callable[..., tuple[S3Store, FailingServer]], answer: Answer
) -> None:
    store, script = failing(answer)
    with pytest.raises(TransientError, match=f"a at {script.url}"), store.local_copy("a"):
        pass


def test_a_page_that_breaks_off_is_asked_for_again(failing: Callable[..., tuple[S3Store, FailingServer]]) -> None:
    store, script = failing(Answer(200, _page(["a"], "t")), Answer(200, _page(["b"]), sent=9), Answer(200, _page(["b"])))
    assert list(store.list("")) == ["a", "b"] and len(script.asked) == 3


def test_a_full_disk_under_a_local_copy_is_critical(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    store = S3Store(BUCKET, "x", endpoint_url=server.url)

    def no_room(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store._client, "download_file", no_room)
    with pytest.raises(CriticalError, match="no room left"), store.local_copy("a"):
        pass


# What s3rver 3.7.1 gets wrong; the stores are right to rely on the contrary.
EMPTY_RANGE = "s3rver answers a range of an empty object with a length of 1 and no byte, where S3 answers 416"


def _unless(request: pytest.FixtureRequest, server: str, reason: str) -> None:
    """The rest of the test cannot pass on this very server, and that is the server's fault."""
    if f"[{server}" in request.node.name:
        pytest.xfail(reason)


def test_an_empty_object_has_no_bytes_in_any_range(store: ObjectStore, request: pytest.FixtureRequest) -> None:
    store.put_bytes("empty", b"")
    assert store.get_range("empty", 0, 0) == store.get_range("empty", 5, 10) == b""
    _unless(request, "s3rver", EMPTY_RANGE)
    assert store.get_range("empty", 0, 10) == b""
    assert list(store.get_ranges("empty", [(0, 3), (0, 0), (7, 1)])) == [b"", b"", b""]


def test_an_empty_object_has_a_local_copy(store: ObjectStore, request: pytest.FixtureRequest) -> None:
    store.put_bytes("empty", b"")
    _unless(request, "s3rver", EMPTY_RANGE)
    with store.local_copy("empty") as path:
        assert path.read_bytes() == b""
