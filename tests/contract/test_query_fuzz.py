"""Whatever is asked, the stand-in Search API answers 200, or 400 with the body of the contract's section 1.9."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.sandbox.fields import DATES, EXACT, TECHNICAL, TEXTS
from tests.contract.test_europeana_search_record import KEY, SEARCH, Api, app, write

FIELDS = sorted({*EXACT, *TECHNICAL, *TEXTS, *DATES, "no_such_field", "*", ""})
VALUES = [
    *(
        "*",
        "IMAGE",
        "image",
        "1641",
        "16?1",
        "vue",
        '"Vue d\'été 3"',
        '"/123/r_01"',
        r"\/123\/*",
        "123_*",
        "http://x.example/*",
    ),
    *(
        "[1640 TO 1650]",
        "[* TO 1650}",
        "{1640 TO *]",
        "[a TO",
        "[2026-01-01T00:00:00Z TO NOW}",
        "[NOW TO 2026-13-01T00:00:00Z]",
    ),
    *("(a OR b)", "()", "true", '"', "\\", "image/jpeg", "#FF6347", "[\\ TO \\]", "0000-00-00T00:00:00Z", "a~2", "a^3", "/a/"),
]
PIECES = [
    "AND",
    "OR",
    "NOT",
    "&&",
    "||",
    "(",
    ")",
    "+",
    "-",
    "!",
    '"',
    ":",
    "\\",
    "{!dismax}",
    "}",
    "[",
    "TO",
    "\x00",
    "é",
    "𝔘",
]
SETTINGS = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

clauses = st.builds("{}{}:{}".format, st.sampled_from(["", "-", "+", "NOT "]), st.sampled_from(FIELDS), st.sampled_from(VALUES))
groups = st.recursive(
    clauses, lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from(["AND", "OR", "", "NOT"]), inner), max_leaves=6
)
soups = st.lists(st.one_of(st.sampled_from(PIECES), st.sampled_from(VALUES), st.text(max_size=8)), max_size=12).map(" ".join)
queries = st.one_of(groups, soups, st.text(max_size=60))
others = st.dictionaries(
    st.sampled_from(
        [
            *("rows", "start", "cursor", "sort", "profile", "reusability", "theme", "media", "thumbnail", "lang", "boost"),
            *("facet", "f.YEAR.facet.limit", "f.DEFAULT.facet.offset", "colourpalette", "hit.selectors", "hit.fl", "callback"),
            *("facet.range", "facet.range.start", "facet.range.end", "facet.range.gap"),
        ]
    ),
    st.one_of(
        st.sampled_from(
            [
                *("*", "0", "1", "-1", "99", "1000", "europeana_id", "europeana_id asc,YEAR", "random_1", "score desc"),
                *(
                    "facets",
                    "rich params debug",
                    "portal,minimal",
                    "hits",
                    "DEFAULT",
                    "YEAR,contentTier",
                    "open",
                    "art",
                    "true",
                ),
                *("timestamp_update", "2026-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "+1HOUR"),
                *("+9999DAYS", "+/+/AAAA", "AAAA"),
            ]
        ),
        st.text(max_size=20),
        st.integers().map(str),
    ),
    max_size=5,
)


@pytest.fixture(scope="module", params=[None, 300], ids=["listed", "computed"])
def api(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    options = write(tmp_path_factory.mktemp("fuzz"))
    with app(replace(options, records=request.param)) as client:
        client.headers.update(KEY)
        yield client


def check(answer: Any) -> None:
    """A server error would have been raised here already by the client."""
    body = answer.json() if "javascript" not in answer.headers["Content-Type"] else {"success": True}
    assert answer.status_code in (200, 400), answer.text
    assert body["success"] is (answer.status_code == 200)
    if answer.status_code == 400:
        assert body["error"] and body.get("code", "400-SA").startswith("400-S")


@SETTINGS
@given(query=queries, filters=st.lists(queries, max_size=3))
def test_the_query_language_never_breaks_the_server(api: Api, query: str, filters: list[str]) -> None:
    check(api.get(SEARCH, params={"query": query, "qf": filters, "rows": 3}))


@SETTINGS
@given(query=queries, parameters=others)
def test_other_parameters_never_break_the_server(api: Api, query: str, parameters: dict[str, str]) -> None:
    check(api.get(SEARCH, params={"query": query, **parameters}))


@SETTINGS
@given(
    body=st.dictionaries(
        st.sampled_from(["query", "qf", "rows", "cursor", "profile", "facet"]),
        st.recursive(
            st.one_of(queries, st.integers(), st.booleans(), st.none(), st.floats(allow_nan=False, allow_infinity=False)),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=4,
        ),
    )
)
def test_no_body_of_a_post_breaks_the_server(api: Api, body: dict[str, Any]) -> None:
    check(api.post(SEARCH, json=body))


@pytest.mark.parametrize("text", ["(" * 5000, "NOT " * 5000 + "a", "-" * 5000 + "a", "a:(" * 3000, '"' * 4999, "[" * 5000])
def test_deep_queries_are_refused(api: Api, text: str) -> None:
    answer = api.post(SEARCH, json={"query": text})
    assert (answer.status_code, answer.json()["code"]) == (400, "400-SA")


def test_long_lists_of_ids_are_answered(api: Api) -> None:
    listed = " OR ".join(f'"/123/r_{number:02d}"' for number in range(2000))
    assert api.post(SEARCH, json={"query": f"europeana_id:({listed})"}).status_code == 200


@SETTINGS
@given(
    headers=st.dictionaries(
        st.sampled_from(["If-None-Match", "If-Modified-Since", "If-Match"]), st.text('aW/"*, 019:GMT', max_size=30)
    )
)
def test_no_caching_header_breaks_the_record_api(api: Api, headers: dict[str, str]) -> None:
    first = next(iter(api.get(SEARCH, params={"query": "*:*", "rows": 1}).json()["items"]))["id"]
    assert api.get(f"/europeana/record/v2{first}.json", headers=headers).status_code in (200, 304, 412)
