"""The vocabulary: what the shipped file promises, and how slugs and URIs resolve."""

import csv
import json
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

from pipeline.errors import CriticalError
from pipeline.vocabulary import Concept, Policy, Vocabulary, canonical_uri, load_vocabulary

ROOT = Path(__file__).resolve().parents[2]
CONCEPTS = ROOT / "vocab" / "concepts.yaml"
POLICY = ROOT / "vocab" / "policy.yaml"
SHARED = ROOT.parent / "shared"
BASE_URL = "https://vocab.example.org"


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return load_vocabulary(CONCEPTS, base_url=BASE_URL)


def concept(vocabulary: Vocabulary, value: str) -> Concept:
    found = vocabulary.resolve(value)
    assert found is not None, f"{value} does not resolve"
    return found


def public_uris(entry: Concept) -> list[str]:
    return [uri for uri in (entry.europeana, entry.wikidata, entry.aat) if uri]


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "concepts.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def shared_file(name: str) -> Path:
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"the shared reference file {name} is not there")
    return path


# --- The shipped file ---


def test_every_concept_has_an_english_label(vocabulary: Vocabulary) -> None:
    assert [entry.slug for entry in vocabulary.concepts if not entry.labels["en"].strip()] == []


def test_no_label_is_blank_or_padded(vocabulary: Vocabulary) -> None:
    labels = [(entry.slug, text) for entry in vocabulary.concepts for text in entry.labels.values()]
    assert [(slug, text) for slug, text in labels if not text or text != text.strip()] == []


def test_every_uri_in_the_file_is_written_in_its_canonical_form() -> None:
    # Read from the file itself: the loader would already have normalised what it hands out.
    prefixes = {
        "europeana": "http://data.europeana.eu/concept/",
        "wikidata": "http://www.wikidata.org/entity/Q",
        "aat": "http://vocab.getty.edu/aat/",
    }
    for entry in yaml.safe_load(CONCEPTS.read_text(encoding="utf-8"))["concepts"]:
        for name, prefix in prefixes.items():
            if name in entry:
                uri = entry[name]
                assert canonical_uri(uri) == uri, entry["slug"]
                assert uri.startswith(prefix) and uri.removeprefix(prefix).isdecimal(), entry["slug"]


def test_no_uri_stands_for_two_concepts_except_textile_as_type_and_as_material(vocabulary: Vocabulary) -> None:
    holders = defaultdict(set)
    for entry in vocabulary.concepts:
        for uri in (*public_uris(entry), entry.fallback_uri):
            holders[uri].add(entry.slug)
    shared = {uri: slugs for uri, slugs in holders.items() if len(slugs) > 1}
    assert set(shared) == set(public_uris(concept(vocabulary, "textile")))
    assert all(slugs == {"textile", "material:textile"} for slugs in shared.values())


def test_a_textile_uri_resolves_to_the_material_and_both_slugs_name_the_same_concept(vocabulary: Vocabulary) -> None:
    as_type, as_material = concept(vocabulary, "textile"), concept(vocabulary, "material:textile")
    assert (as_type.kind, as_material.kind) == ("type", "material")
    assert as_type.concept_uri == as_material.concept_uri
    assert as_type.body_uri == as_material.body_uri
    assert [concept(vocabulary, uri).slug for uri in public_uris(as_type)] == ["material:textile"] * 3


def test_a_slug_has_the_prefix_material_exactly_when_it_is_a_material(vocabulary: Vocabulary) -> None:
    assert [c.slug for c in vocabulary.concepts if c.slug.startswith("material:") != (c.kind == "material")] == []


def test_following_broader_never_comes_back_to_the_start(vocabulary: Vocabulary) -> None:
    def ancestors(slug: str, path: tuple[str, ...] = ()) -> None:
        assert slug not in path, f"circle of broader concepts: {' > '.join((*path, slug))}"
        for parent in vocabulary.by_slug[slug].broader:
            ancestors(parent, (*path, slug))

    for entry in vocabulary.concepts:
        ancestors(entry.slug)


def test_the_policy_names_only_concepts_and_rights_that_exist(vocabulary: Vocabulary) -> None:
    policy = yaml.safe_load(POLICY.read_text(encoding="utf-8"))
    assert set(policy) == set(Policy.__dataclass_fields__)
    named = [slug for field in ("allowed_concepts", "excluded_concepts", "abstain") for slug in policy[field] or ()]
    assert set(named) <= set(vocabulary.by_slug)
    assert set(policy["publishable_rights"]) <= {"open", "restricted", "permission"}


# --- Which URI is used where ---


@pytest.mark.parametrize(
    ("known", "concept_uri", "body_uri"),
    [
        ("europeana wikidata aat", "europeana", "wikidata"),
        ("europeana aat", "europeana", "aat"),
        ("europeana", "europeana", "europeana"),
        ("wikidata aat", "wikidata", "wikidata"),
        ("aat", "aat", "aat"),
    ],
)
def test_our_data_prefer_europeana_and_annotations_prefer_wikidata(known: str, concept_uri: str, body_uri: str) -> None:
    uris = {name: f"http://{name}.example/1" if name in known.split() else None for name in ("europeana", "wikidata", "aat")}
    entry = Concept(slug="x", kind="type", labels={"en": "x"}, broader=(), fallback_uri="http://own.example/x", **uris)
    assert entry.concept_uri == uris[concept_uri]
    assert entry.body_uri == uris[body_uri]


def test_a_concept_without_public_uri_has_our_own_name_and_cannot_be_published(vocabulary: Vocabulary) -> None:
    entry = concept(vocabulary, "sealing")
    assert entry.concept_uri == f"{BASE_URL}/concept/sealing"
    assert entry.body_uri is None
    assert vocabulary.resolve(entry.concept_uri) is entry


def test_a_trailing_slash_of_the_base_url_does_not_double_up() -> None:
    entry = concept(load_vocabulary(CONCEPTS, base_url=f"{BASE_URL}/"), "sealing")
    assert entry.concept_uri == f"{BASE_URL}/concept/sealing"


def test_a_missing_language_falls_back_to_english(vocabulary: Vocabulary) -> None:
    painting = concept(vocabulary, "painting")
    assert painting.label("de") == "Gemälde"
    assert painting.label("xx") == "painting"


# --- Resolving ---


@pytest.mark.parametrize(
    "alias",
    [
        "painting",
        "  painting ",
        "http://data.europeana.eu/concept/47",
        "http://data.europeana.eu/concept/base/47",
        "https://data.europeana.eu/concept/47/",
        "http://www.wikidata.org/entity/Q3305213",
        "https://www.wikidata.org/wiki/Q3305213",
        "https://wikidata.org/entity/Q3305213",
        "http://vocab.getty.edu/aat/300033618",
        "http://vocab.getty.edu/page/aat/300033618",
        "https://vocab.getty.edu/page/aat/300033618\n",
    ],
)
def test_every_spelling_of_a_concept_resolves_to_it(vocabulary: Vocabulary, alias: str) -> None:
    assert concept(vocabulary, alias).slug == "painting"


@pytest.mark.parametrize(
    "value",
    ["no_such_slug", "Painting", "", "clay", "http://data.europeana.eu/concept/4", "https://example.org/painting"],
)
def test_an_unknown_slug_or_uri_resolves_to_none(vocabulary: Vocabulary, value: str) -> None:
    assert vocabulary.resolve(value) is None


# --- Files that cannot be used ---


@pytest.mark.parametrize(
    "entry",
    [
        "{slug: vase, kind: type}",
        "{slug: vase, kind: type, labels: {de: Vase}}",
        "{slug: vase, kind: colour, labels: {en: vase}}",
        "{kind: type, labels: {en: vase}}",
    ],
    ids=["no labels", "no English label", "unknown kind", "no slug"],
)
def test_an_unusable_entry_is_an_error_that_names_the_file_and_the_entry(tmp_path: Path, entry: str) -> None:
    path = written(tmp_path, f"concepts:\n  - {entry}\n")
    with pytest.raises(CriticalError) as error:
        load_vocabulary(path, base_url=BASE_URL)
    assert str(path) in str(error.value)
    assert "vase" in str(error.value)


def test_a_slug_that_stands_twice_is_an_error_that_names_it(tmp_path: Path) -> None:
    entry = "  - {slug: vase, kind: type, labels: {en: vase}}\n"
    path = written(tmp_path, "concepts:\n" + 2 * entry)
    with pytest.raises(CriticalError, match="vase") as error:
        load_vocabulary(path, base_url=BASE_URL)
    assert str(path) in str(error.value)


def test_a_broader_concept_that_is_missing_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = written(tmp_path, "concepts:\n  - {slug: vase, kind: type, labels: {en: vase}, broader: [pot]}\n")
    with pytest.raises(CriticalError, match="pot") as error:
        load_vocabulary(path, base_url=BASE_URL)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "things: []", "concepts: [", None])
def test_a_file_that_is_missing_or_no_list_of_concepts_is_an_error_that_names_it(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "concepts.yaml" if text is None else written(tmp_path, text)
    with pytest.raises(CriticalError) as error:
        load_vocabulary(path, base_url=BASE_URL)
    assert str(path) in str(error.value)


def test_the_version_changes_with_the_file_and_only_with_the_file(tmp_path: Path) -> None:
    text = "concepts:\n  - {slug: vase, kind: type, labels: {en: vase}}\n"
    first = load_vocabulary(written(tmp_path, text), base_url=BASE_URL).version
    again = load_vocabulary(written(tmp_path, text), base_url="https://other.example.org").version
    changed = load_vocabulary(written(tmp_path, text + "# note\n"), base_url=BASE_URL).version
    assert first == again != changed


# --- Agreement with the reference data ---


def test_the_32_concepts_of_the_shared_pictures_have_the_same_kinds_and_uris(vocabulary: Vocabulary) -> None:
    with shared_file("images/concepts.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 32
    for row in rows:
        entry = concept(vocabulary, row["slug"])
        uris = [row[column] or None for column in ("europeana_uri", "wikidata_uri", "aat_uri")]
        assert [entry.europeana, entry.wikidata, entry.aat] == uris, row["slug"]
        assert entry.kind == row["kind"], row["slug"]
        for uri in filter(None, uris):
            assert concept(vocabulary, uri) is entry, uri


def test_the_20_concepts_of_the_pilot_have_the_same_uris(vocabulary: Vocabulary) -> None:
    pilot = json.loads(shared_file("data/europeana_pilot/vocabulary.json").read_text(encoding="utf-8"))
    assert len(pilot) == 20
    for slug, uri in pilot.items():
        entry = concept(vocabulary, slug)
        assert canonical_uri(uri) in public_uris(entry), slug
        assert concept(vocabulary, uri).concept_uri == entry.concept_uri, slug
