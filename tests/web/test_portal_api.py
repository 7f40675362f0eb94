"""The portal API over a small lake."""

import io

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from tiny_lake import COIN, FULL_TITLE, JAR, LOST, PICTURES, WriteRun

from pipeline.datasets.lake import open_lake
from pipeline.domain.identifiers import image_id
from pipeline.settings import Settings
from pipeline.web import create_app


def test_a_record_comes_with_metadata_picture_and_label_counts(client: TestClient) -> None:
    answer = client.get(f"/v1/records{COIN}").json()
    assert answer["title"] == FULL_TITLE
    assert answer["descriptions"] == {"en": ["Found <b>in</b> a field."]}
    assert answer["image"]["image_id"] == image_id(PICTURES[COIN])
    assert answer["image"]["thumbnail"] == f"/v1/records{COIN}/image"
    assert answer["labels"] == {"publish": 1, "review": 1}
    assert answer["run"]["run_id"] == "night-1"


def test_a_record_without_a_picture_says_so(client: TestClient) -> None:
    assert client.get(f"/v1/records{LOST}").json()["image"] is None
    reply = client.get(f"/v1/records{LOST}/image")
    assert reply.status_code == 404
    assert "no usable picture" in reply.json()["detail"]


def test_labels_come_surest_first_without_hidden_and_dropped_ones(client: TestClient) -> None:
    labels = client.get(f"/v1/records{COIN}/labels").json()["labels"]
    assert [(label["label"], label["decision"], label["score"]) for label in labels] == [
        ("coin", "publish", 0.97),
        ("map", "review", 0.4),
    ]


def test_labels_can_be_asked_for_by_decision(client: TestClient) -> None:
    labels = client.get(f"/v1/records{COIN}/labels", params={"decision": "review"}).json()["labels"]
    assert [label["label"] for label in labels] == ["map"]


@pytest.mark.parametrize("decision", ["hidden", "drop"])
def test_end_users_are_refused_hidden_labels(client: TestClient, decision: str) -> None:
    reply = client.get(f"/v1/records{COIN}/labels", params={"decision": decision})
    assert reply.status_code == 403
    assert "internal" in reply.json()["detail"]


def test_internal_users_see_hidden_labels(settings: Settings, write_run: WriteRun) -> None:
    write_run()
    client = TestClient(create_app(settings, internal=True))
    assert [label["label"] for label in client.get(f"/v1/records{COIN}/labels").json()["labels"]] == ["coin", "map", "textile"]
    dropped = client.get(f"/v1/records{COIN}/labels?decision=drop").json()["labels"]
    assert [label["label"] for label in dropped] == ["painting"]
    related = client.get(f"/v1/records{COIN}/related").json()["suggestions"]
    assert related[0]["reasons"] == ["visual", "concept:coin", "concept:textile"]


def test_related_records_come_with_reasons_scores_and_the_model(client: TestClient) -> None:
    answer = client.get(f"/v1/records{COIN}/related").json()
    assert answer["model"]["model_name"] == "tiny"
    assert answer["model"]["model_sha256"] == "ab" * 32
    first, second = answer["suggestions"]
    assert (first["record_id"], first["title"], first["rank"], first["score"]) == (JAR, "Jar", 1, 0.9)
    assert first["thumbnail"] == f"/v1/records{JAR}/image"
    assert second["thumbnail"] is None


def test_a_hidden_label_is_withheld_as_a_reason_too(client: TestClient) -> None:
    first = client.get(f"/v1/records{COIN}/related").json()["suggestions"][0]
    assert first["reasons"] == ["visual", "concept:coin"]
    assert [concept["label"] for concept in first["shared_concepts"]] == ["coin"]


def test_related_records_stop_at_the_limit(client: TestClient) -> None:
    assert len(client.get(f"/v1/records{COIN}/related?limit=1").json()["suggestions"]) == 1


def test_a_record_without_suggestions_has_an_empty_list(client: TestClient) -> None:
    answer = client.get(f"/v1/records{JAR}/related").json()
    assert answer["suggestions"] == []
    assert answer["model"] is None


def test_the_picture_is_the_jpeg_in_the_shard(client: TestClient) -> None:
    reply = client.get(f"/v1/records{COIN}/image")
    assert reply.content == PICTURES[COIN]
    assert Image.open(io.BytesIO(reply.content)).size == (40, 30)
    assert reply.headers["content-type"] == "image/jpeg"
    assert reply.headers["etag"] == f'"{image_id(PICTURES[COIN])}"'
    assert reply.headers["cache-control"] == "public, max-age=3600"


@pytest.mark.parametrize("form", ['"{0}"', 'W/"{0}"', '"other", "{0}"', "*"])
def test_a_picture_that_the_client_has_is_not_sent_again(client: TestClient, form: str) -> None:
    known = form.format(image_id(PICTURES[COIN]))
    reply = client.get(f"/v1/records{COIN}/image", headers={"If-None-Match": known})
    assert (reply.status_code, reply.content) == (304, b"")
    assert reply.headers["etag"]


def test_an_older_picture_is_replaced(client: TestClient) -> None:
    assert client.get(f"/v1/records{COIN}/image", headers={"If-None-Match": '"other"'}).status_code == 200


def test_runs_are_listed_newest_first_and_only_when_finished(settings: Settings, write_run: WriteRun) -> None:
    for run_id, day, finished in [("b", 1, True), ("a", 2, True), ("c", 2, True), ("late", 9, False)]:
        write_run(run_id, day, finished=finished)
    client = TestClient(create_app(settings))
    answer = client.get("/v1/runs").json()
    assert [run["run_id"] for run in answer["runs"]] == ["c", "a", "b"]
    limited = client.get("/v1/runs?limit=1").json()
    assert (limited["total"], len(limited["runs"])) == (3, 1)
    assert client.get("/v1/runs/late").status_code == 404


def test_a_record_comes_from_the_newest_run_that_holds_it(settings: Settings, write_run: WriteRun) -> None:
    write_run("all", 1)
    write_run("small", 2, records=(JAR,))
    client = TestClient(create_app(settings))
    assert client.get(f"/v1/records{JAR}").json()["run"]["run_id"] == "small"
    assert client.get(f"/v1/records{COIN}").json()["run"]["run_id"] == "all"


def test_a_run_answers_with_its_report(client: TestClient) -> None:
    assert client.get("/v1/runs/night-1").json()["summary"]["records"] == 5


@pytest.mark.parametrize("path", ["/records/100/none", "/records/100/none/labels", "/records/100/none/related"])
def test_an_unknown_record_is_not_found(client: TestClient, path: str) -> None:
    reply = client.get(f"/v1{path}")
    assert reply.status_code == 404
    assert reply.json() == {"detail": "the record /100/none is in none of the 1 newest finished runs"}


@pytest.mark.parametrize("run_id", ["none", "night-1%00", "..%5c..", "night-1 "])
def test_an_unknown_run_is_not_found(client: TestClient, run_id: str) -> None:
    reply = client.get(f"/v1/runs/{run_id}")
    assert reply.status_code == 404
    assert "no finished run is called" in reply.json()["detail"]


@pytest.mark.parametrize("query", ["related?limit=0", "related?limit=51", "related?limit=x", "labels?decision=maybe"])
def test_bad_parameters_are_named(client: TestClient, query: str) -> None:
    reply = client.get(f"/v1/records{COIN}/{query}")
    assert reply.status_code == 422
    assert reply.json()["detail"].startswith(query.split("?")[1].split("=")[0])


def test_a_lake_that_cannot_be_read_is_an_error_without_details(settings: Settings) -> None:
    client = TestClient(create_app(settings.model_copy(update={"storage_url": "ftp://secret-place"})))
    reply = client.get("/v1/runs")
    assert reply.status_code == 503
    assert "secret-place" not in reply.text


def test_a_picture_whose_shard_is_gone_is_not_found(settings: Settings, client: TestClient) -> None:
    shard = next((settings.var_dir / "lake" / "shards").rglob("*.tar"))
    shard.unlink()
    assert client.get(f"/v1/records{COIN}/image").status_code == 404


def test_a_part_that_is_being_swapped_is_an_error_that_passes(settings: Settings, client: TestClient) -> None:
    assert client.get(f"/v1/records{COIN}/labels").status_code == 200
    for part in (settings.var_dir / "lake" / "record_labels").rglob("*.parquet"):
        part.unlink()
    assert client.get(f"/v1/records{COIN}/labels").status_code == 503


def test_the_description_of_the_api_names_its_paths(client: TestClient) -> None:
    paths = client.get("/v1/openapi.json").json()["paths"]
    assert "/v1/records/{dataset}/{local}/related" in paths


def test_the_lake_may_lie_in_s3(settings: Settings, write_run: WriteRun, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3
    from moto import mock_aws

    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="lake")
        settings = settings.model_copy(update={"storage_url": "s3://lake/heritage"})
        write_run(lake=open_lake(settings))
        client = TestClient(create_app(settings))
        assert client.get(f"/v1/records{COIN}").json()["title"] == FULL_TITLE
        assert client.get(f"/v1/records{COIN}/image").content == PICTURES[COIN]
        assert len(client.get(f"/v1/records{COIN}/related").json()["suggestions"]) == 2
