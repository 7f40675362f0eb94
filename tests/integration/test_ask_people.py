"""Labels are put to the vote in a campaign of WITH, each once, whatever is lost on the way."""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from typer.testing import CliRunner

from pipeline.cli.main import app
from pipeline.clients import with_platform
from pipeline.clients.with_platform import WithClient
from pipeline.datasets.lake import open_lake
from pipeline.datasets.run import Run
from pipeline.domain.scope import Scope, Selection
from pipeline.errors import CriticalError, TransientError
from pipeline.feedback import ask as asking
from pipeline.feedback.ask import Asked, ask, put_to_the_vote
from pipeline.feedback.sample import Candidate
from pipeline.sandbox import SandboxOptions
from pipeline.sandbox.process import SandboxProcess, free_port
from pipeline.settings import PROJECT_ROOT, Settings
from pipeline.vocabulary import load_vocabulary
from tests.conftest import NOW
from tests.integration.labelled import labelled_run, settings_for, write_pictures

VOCABULARY = load_vocabulary(PROJECT_ROOT / "vocab" / "concepts.yaml", base_url="urn:test")
RUN = Run("night", "museum", Selection("query", "*:*"), Scope("full"), NOW)
NAME = "fifties in the museum"
POLICY = "excluded_concepts: []\nabstain: []\npublishable_rights: [open]\n"
IMPORT = "^/with/campaign/.*/importAnnotations"


@pytest.fixture
def platform(clean_server: SandboxProcess) -> SandboxProcess:
    return clean_server


@pytest.fixture
def start_platform(tmp_path: Path) -> Iterator[Callable[..., SandboxProcess]]:
    """Start another one with changed options."""
    running: list[SandboxProcess] = []

    def start(**changes: Any) -> SandboxProcess:
        write_pictures(tmp_path / "collection")
        options = SandboxOptions(
            collection=tmp_path / "collection",
            state_dir=tmp_path / "state",
            vocabulary_path=PROJECT_ROOT / "vocab" / "concepts.yaml",
            port=free_port(),
            **changes,
        )
        running.append(SandboxProcess(options))
        return running[-1]

    yield start
    for one in running:
        one.stop()


@pytest.fixture
def settings(platform: SandboxProcess, tmp_path: Path) -> Settings:
    return with_settings(platform, tmp_path / "var")


def with_settings(platform: SandboxProcess, var: Path) -> Settings:
    return settings_for(
        platform,
        var,
        with_api_url=f"{platform.url}/with",
        with_username="maker@example.org",
        with_password="sandbox",
        with_import_timeout_s=20,
    )


@pytest.fixture
def campaign(settings: Settings, request: pytest.FixtureRequest) -> str:
    """A new campaign."""
    name = f"{NAME} {hashlib.sha256(request.node.name.encode()).hexdigest()[:12]}"
    WithClient(settings)._json("POST", "/campaign/createEmptyCampaign", params={"campaignUserName": name})
    return name


def labels(count: int, concept: str = "painting", first: int = 0) -> list[Candidate]:
    uri = VOCABULARY.by_slug[concept].concept_uri
    return [
        Candidate(f"/7/p{number:02d}", f"{number:064x}", "http://h.example/a.jpg", uri, concept, 0.5, "Museum", "default@1")
        for number in range(first, first + count)
    ]


def handed_in(settings: Settings, chosen: list[Candidate], name: str, **options: Any) -> Asked:
    return put_to_the_vote(WithClient(settings), chosen, name, RUN, settings=settings, **{"dry_run": False, **options})


def tags_of(platform: SandboxProcess, name: str) -> Counter[tuple[str, str]]:
    """What the campaign's export has, each as often as it is there."""
    form = {"campaignName": name, "europeanaModelExport": "false", "filterForPublish": "false"}
    export = requests.get(f"{platform.url}/with/annotation/exportCampaignAnnotations", params=form, timeout=10).json()
    return Counter((one["target"]["source"], one["body"]) for one in export["@graph"])


def body(concept: str) -> str:
    return str(VOCABULARY.by_slug[concept].body_uri)


def test_labels_are_in_the_campaign_with_their_term_and_asking_again_adds_only_what_is_new(
    platform: SandboxProcess, settings: Settings, campaign: str
) -> None:
    assert handed_in(settings, labels(5), campaign, dry_run=True) == Asked(5, 0)
    assert not tags_of(platform, campaign)
    assert handed_in(settings, labels(5), campaign) == Asked(5, 0, imported=5)
    more = [*labels(7), *labels(2, "map")]
    assert handed_in(settings, more, campaign) == Asked(9, 5, imported=4)
    assert tags_of(platform, campaign) == Counter(
        [(f"/7/p{number:02d}", body("painting")) for number in range(7)]
        + [(f"/7/p{number:02d}", body("map")) for number in range(2)]
    )
    form = {"campaignName": campaign, "europeanaModelExport": "false", "filterForPublish": "false"}
    export = requests.get(f"{platform.url}/with/annotation/exportCampaignAnnotations", params=form, timeout=10).json()
    assert {one["creator"]["name"] for one in export["@graph"]} == {"default@1"}
    terms = {"thesaurusName": settings.with_thesaurus}
    known = requests.get(f"{platform.url}/with/thesaurus/listTerms", params=terms, timeout=10).json()
    assert {one["uri"] for one in known} >= {body("painting"), body("map")} and all(one["description"] for one in known)


def test_a_record_that_with_does_not_know_is_named_and_costs_nobody_else(
    platform: SandboxProcess, settings: Settings, campaign: str
) -> None:
    stranger = replace(labels(1)[0], record_id="/8/nowhere")
    asked = handed_in(settings, [*labels(3), stranger], campaign)
    assert asked == Asked(4, 0, imported=3, refused=1, missing=(("/8/nowhere", body("painting")),))


@pytest.mark.parametrize("fault", ["lost-reply", "502-html", "reset"])
def test_an_import_whose_reply_is_lost_is_not_sent_again(
    platform: SandboxProcess, settings: Settings, campaign: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(with_platform, "BEGINS_WITHIN_S", 0.5)
    platform.faults({"route": IMPORT, "fault": fault, "method": "POST", "times": 1})
    if fault == "lost-reply":  # it has begun all the same
        assert handed_in(settings, labels(4), campaign) == Asked(4, 0, imported=4)
    else:
        with pytest.raises(TransientError, match="has begun no import"):
            handed_in(settings, labels(4), campaign)
        assert not tags_of(platform, campaign)
        assert handed_in(settings, labels(4), campaign) == Asked(4, 0, imported=4)
    assert set(tags_of(platform, campaign).values()) == {1}


def test_many_labels_go_in_several_imports_one_after_the_other(
    platform: SandboxProcess, settings: Settings, campaign: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "MOST_BYTES", 1_000)
    assert handed_in(settings, labels(9), campaign) == Asked(9, 0, imported=9)
    runs = WithClient(settings)._import_runs(campaign).values()
    assert len(runs) >= 3 and {one["status"] for one in runs} == {"COMPLETED"}
    ordered = sorted(runs, key=lambda one: one["startedAt"])
    assert all(one["uploadedAt"] <= other["startedAt"] for one, other in zip(ordered, ordered[1:], strict=False))


def test_an_import_that_never_ends_is_told_and_another_one_waits_for_it(
    platform: SandboxProcess, settings: Settings, campaign: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = WithClient(settings)
    with pytest.raises(TransientError, match="still importing"):
        client.import_tags(campaign, {"no": "graph"}, timeout_s=0.5)  # the platform's worker dies over it
    with pytest.raises(TransientError, match="is importing into the campaign"):
        handed_in(settings, labels(1), campaign)
    monkeypatch.setattr(with_platform, "DEAD_AFTER_S", 0.0)  # hours later
    assert handed_in(settings, labels(1), campaign).imported == 1


def test_an_import_that_takes_longer_than_it_is_waited_for_is_not_sent_again(
    start_platform: Callable[..., SandboxProcess], tmp_path: Path
) -> None:
    slow = start_platform(with_import_delay_s=3.0)
    settings = with_settings(slow, tmp_path / "var").model_copy(update={"with_import_timeout_s": 0.5})
    WithClient(settings)._json("POST", "/campaign/createEmptyCampaign", params={"campaignUserName": "slow"})
    with pytest.raises(TransientError, match="still importing"):
        handed_in(settings, labels(4), "slow")
    with pytest.raises(TransientError, match="is importing into the campaign"):
        handed_in(settings, labels(4), "slow")
    client = WithClient(settings)
    while any(one["status"] == "IMPORTING" for one in client._import_runs("slow").values()):
        time.sleep(0.1)
    assert handed_in(settings, labels(4), "slow") == Asked(4, 4)
    assert set(tags_of(slow, "slow").values()) == {1}


def test_two_labels_with_one_uri_are_one_question(platform: SandboxProcess, settings: Settings, campaign: str) -> None:
    assert VOCABULARY.by_slug["textile"].body_uri == VOCABULARY.by_slug["material:textile"].body_uri
    both = [*labels(3, "textile"), *labels(3, "material:textile")]
    assert handed_in(settings, both, campaign) == Asked(3, 0, imported=3)
    assert set(tags_of(platform, campaign).values()) == {1}


@pytest.mark.parametrize(
    ("route", "fault"),
    [
        ("^/with/thesaurus/listTerms", "502-html"),
        ("^/with/thesaurus/createEmptyThesaurus", "lost-reply"),
        ("^/with/annotation/exportCampaignAnnotations", "502-html"),
    ],
)
def test_passing_trouble_is_no_reason_to_give_up_or_to_do_anything_twice(
    platform: SandboxProcess, settings: Settings, campaign: str, route: str, fault: str
) -> None:
    settings = settings.model_copy(update={"with_thesaurus": f"terms {fault} {len(route)}"})
    platform.faults({"route": route, "fault": fault, "times": 1})
    assert handed_in(settings, labels(2), campaign) == Asked(2, 0, imported=2)
    platform.faults({"route": route, "fault": "502-html"})
    if "export" in route:
        with pytest.raises(TransientError, match="cannot export the campaign"):
            handed_in(settings, labels(2), campaign)


def test_what_was_imported_is_told_even_when_it_cannot_be_looked_at_afterwards(
    platform: SandboxProcess, settings: Settings, campaign: str
) -> None:
    route = "^/with/annotation/exportCampaignAnnotations"
    platform.faults({"route": route, "fault": "502-html", "after": 2})
    asked = handed_in(settings, labels(2), campaign)
    assert (asked.imported, asked.missing) == (2, ()) and "cannot export the campaign" in asked.unchecked


def test_the_policy_of_today_keeps_labels_from_the_crowd(settings: Settings, tmp_path: Path) -> None:
    lake = open_lake(settings)
    run = lake.run(labelled_run(settings, [(f"/7/p{number:02d}", "painting", "review", 0.5) for number in range(2)]))
    chosen = [*labels(2), *labels(1, "map")]

    def left(line: str) -> list[tuple[str, str]]:
        (tmp_path / "policy.yaml").write_text(f"{POLICY}{line}\n")
        today = settings.model_copy(update={"policy_file": tmp_path / "policy.yaml"})
        return [(one.record_id, one.label) for one in asking._allowed(lake, run, chosen, today)]

    assert len(left("")) == 3
    assert left("allowed_concepts: [map]") == [("/7/p00", "map")]
    assert left("provider_ceilings: {City Archive: hidden}") == []
    assert len(left("provider_ceilings: {City Archive: review}")) == 3


def test_the_command_says_what_it_would_do_and_does_it_only_when_told(
    platform: SandboxProcess, settings: Settings, campaign: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = labelled_run(settings, [("/7/p01", "painting", "review", 0.5)])
    monkeypatch.setattr(asking, "choose_labels", lambda *_, **__: labels(3))
    values = {name: getattr(settings, name) for name in settings.model_fields_set}
    monkeypatch.setattr("pipeline.cli.feedback.Settings", lambda: settings.model_copy(update=values))
    arguments = ["feedback", "ask", "--run", key, "--campaign", campaign, "--budget", "3"]
    told = CliRunner().invoke(app, arguments, env={"COLUMNS": "160"})
    assert told.exit_code == 0 and "3 would be imported; nothing is done without --yes" in told.output, told.output
    done = CliRunner().invoke(app, [*arguments, "--yes"], env={"COLUMNS": "160"})
    assert "3 are imported, 0 refused; afterwards 0 are not there" in done.output, done.output
    again = CliRunner().invoke(app, [*arguments, "--yes"], env={"COLUMNS": "160"})
    assert "3 of them are in the campaign" in again.output and "0 are imported" in again.output
    with pytest.raises(CriticalError, match="WITH has no campaign 'nobody'"):
        ask(key, "nobody", budget=3, seed=1, settings=settings)


def test_two_starts_never_import_into_a_campaign_together(settings: Settings) -> None:
    with asking._alone("one", settings):
        with (
            pytest.raises(CriticalError, match="another start is importing into the campaign 'one'"),
            asking._alone("one", settings),
        ):
            pass
        with asking._alone("other", settings):
            pass
    with asking._alone("one", settings):
        pass
