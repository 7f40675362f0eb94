"""Replies of Europeana and WITH become records: what real ones say is checked fact by fact, and none ever raises.

The facts were read out of the saved replies by hand, by the search contract (§1.8, §2.3, §2.4, §3.1, §4); what is said about
records of WITH follows its contract (§2.4, §2.7).
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.outcome import DETAIL_LENGTH, Outcome, OutcomeRow, Reason
from pipeline.domain.record import MediaFile, Record
from pipeline.harvest.parse import parse_item
from pipeline.harvest.parse_record import parse_object
from pipeline.harvest.parse_with import parse_with_record
from pipeline.harvest.saved_replies import parse_file

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT.parent / "shared" / "samples" / "europeana"
with_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the samples of real replies are not here")

STANDARD_2024 = "search_standard_2024__items50.json"
RICH_2019 = "search_rich_facets_params_2019__portal-collections.json"
LEGACY_2015 = "search_legacy_2015__netsensei.json"
FACETS_LEGACY = "search_facets_legacy__europeana-client.json"
EMPTY = "search_minimal__entity-management__search_and_record_empty.json"
MINIMAL = "search_minimal__entity-management__timespan_1_century_search_and_record.json"
OPENVERSE = "search_rich__openverse-catalog__image_data_example.json"
OPENVERSE_CUT = "search_rich__openverse-catalog__image_data_sub_provider_example.json"
RECORD_2023 = "record_2023__openverse__item_full.json"
NEWSPAPER_TITLE = "record_2018__iiif-manifest-api__example_record_parent_response.json"
NEWSPAPER_ISSUE = "record_2018__iiif-manifest-api__example_record_child_response.json"
VOCABULARY = "vocabulary_20classes__rd-img-classification-pilot.json"

# How many records a reply holds; none of these has anything that cannot be read.
RECORDS = {
    STANDARD_2024: 50,
    RICH_2019: 12,
    LEGACY_2015: 12,
    FACETS_LEGACY: 0,
    EMPTY: 0,
    MINIMAL: 1,
    OPENVERSE: 1,
    OPENVERSE_CUT: 1,
    RECORD_2023: 1,
    NEWSPAPER_TITLE: 1,
    NEWSPAPER_ISSUE: 1,
}

PDM = "http://creativecommons.org/publicdomain/mark/1.0/"
CC0 = "http://creativecommons.org/publicdomain/zero/1.0/"
BY = "http://creativecommons.org/licenses/by/4.0/"
BY_SA = "http://creativecommons.org/licenses/by-sa/4.0/"
IN_COPYRIGHT = "http://rightsstatements.org/vocab/InC/1.0/"
FREE_ACCESS = "http://www.europeana.eu/rights/rr-f/"
RESTRICTED_ACCESS = "http://www.europeana.eu/rights/rr-r/"
PAID_ACCESS = "http://www.europeana.eu/rights/rr-p/"

NOTHING: dict[str, Any] = {
    "creators": (),
    "year": None,
    "media_type": "IMAGE",
    "provider": "",
    "data_provider": "",
    "dataset_name": "",
    "country": "",
    "languages": (),
    "image_url": None,
    "image_urls": (),
    "media": (),
    "thumbnail_url": None,
    "landing_url": None,
    "updated_at": None,
    "concept_uris": (),
    "concept_labels": {},
    "label_languages": 0,
}


def at(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f").replace(tzinfo=UTC)


def fact_sheet(record_id: str, rights: str, category: str, **facts: Any) -> dict[str, Any]:
    """What a record says; what is not given is expected to be absent."""
    labels = facts.get("concept_labels", {})
    stated = {"rights": rights, "record_rights": rights, "rights_category": category, "label_languages": len(labels)}
    return NOTHING | {"record_id": record_id} | stated | facts


def hit(record_id: str, rights: str, category: str, image: str | None = None, **facts: Any) -> dict[str, Any]:
    """The facts of a search hit. Search names an image's address and nothing else about it (§1.8)."""
    pictured = {"image_url": image, "image_urls": (image,), "media": (MediaFile(image, rights, category),)} if image else {}
    return fact_sheet(record_id, rights, category, **pictured, **facts)


# --- What the real replies say ---

EKT = {
    "dataset_id": "12",
    "provider": "Greek Aggregator SearchCulture.gr | National Documentation Centre (EKT)",
    "data_provider": "Ινστιτούτο Ιστορικών Ερευνών (ΙΙΕ/ΕΙΕ)",
    "dataset_name": "12_EKT_Pandektis",
    "country": "Greece",
    "languages": ("el",),
}
EKT_ID = "/12/https___www_searchculture_gr_aggregator_edm_pandektis"
EKT_TYPES = "http://semantics.gr/authorities/ekt-item-types"
EKT_IMAGES = "http://pandektis.ekt.gr/pandektis/retrieve"
EKT_THUMBNAILS = "https://www.searchculture.gr/aggregator/thumbnails/edm-record"
ALBERTINA = "https://sammlungenonline.albertina.at"
HEIDICON = "https://heidicon.ub.uni-heidelberg.de"
ARCHIVE_ORG = "https://ia800106.us.archive.org"
CULTURALIA = "https://resource.culturalia.ro/public/2000/01/01"
HISPANA = "http://hispana.mcu.es/lod/oai:bibliotecadigital.jcyl.es:26229"
JCYL = "http://bibliotecadigital.jcyl.es/i18n"
RIJKSMUSEUM = {
    "dataset_id": "90402",
    "provider": "Rijksmuseum",
    "data_provider": "Rijksmuseum",
    "dataset_name": "90402_M_NL_Rijksmuseum",
    "country": "Netherlands",
    "languages": ("nl",),
}


def ekt_landing(shown_at: str, record_id: str) -> str:
    """The redirect of the old portal; a `-` stands where the key stood."""
    provider = "Greek+Aggregator+SearchCulture.gr+%7C+National+Documentation+Centre+%28EKT%29"
    resolved = f"https%3A%2F%2Fwww.europeana.eu%2Fresolve%2Frecord%2F12%2F{record_id.removeprefix('/12/')}"
    query = f"shownAt=http%3A%2F%2Fpandektis.ekt.gr%2Fpandektis%2Fhandle%2F{shown_at}&provider={provider}&id={resolved}"
    return f"https://api.europeana.eu/api/-/redirect?{query}&profile=params+rich+facets+hits"


def portal_landing(shown_at: str, provider: str, record_id: str) -> str:
    resolved = f"http%3A%2F%2Fwww.europeana.eu%2Fresolve%2Frecord{record_id.replace('/', '%2F')}"
    query = f"shownAt={shown_at}&provider={provider}&id={resolved}&profile=standard"
    return f"http://www.europeana.eu/api/-/redirect?{query}"


HITS_2024 = [
    hit(
        "/15508/It_III_35_89",
        PDM,
        "open",
        f"{ALBERTINA}/cc/imageproxy.ashx?server=localhost&port=15001&filename=images/It_III_35_89.jpg&cache=yes",
        dataset_id="15508",
        title="Szenen aus dem Leben der Briganten in Italien",
        titles={"de": ["Szenen aus dem Leben der Briganten in Italien"]},
        creators=(
            "Bartolomeo Pinelli (Ausführende_r Künstler_in)",
            "Bartolomeo Pinelli (artist)",
            "#Bartolomeo_Pinelli_Ausführende_r_Künstler_in",
        ),
        provider="Kulturpool",
        data_provider="Albertina",
        dataset_name="15508_Ag_AT_Kulturpool_albertina",
        country="Austria",
        languages=("de",),
        # The thumbnail is stored under another address than the image.
        thumbnail_url=f"{ALBERTINA}/cc/imageproxy.ashx"
        "?server=localhost&port=15001&filename=images/It_III_35_89.jpg&cache=yes&maxwidth=400",
        landing_url=f"{ALBERTINA}/?query=search=/record/objectnumbersearch=[It/III/35/89]&showtype=record",
        updated_at=at("2022-09-28T12:10:21.928"),
        concept_uris=("http://data.europeana.eu/concept/2538",),
        concept_labels={"de": ["Druckgrafik"], "en": ["Print"], "ru": ["Эстамп"]},
        label_languages=23,
    ),
    hit(
        "/870/NHMUKXBMNHXEXXBMNHXEX1773169",
        BY,
        "open",
        "https://data.nhm.ac.uk/media/28ba9b57-608f-4397-b262-8c191d79b934",
        dataset_id="870",
        title="Thera britannica ab. nigrofasciata Gumppenberg, 1890",
        titles={"la": ["Thera britannica ab. nigrofasciata Gumppenberg, 1890"]},
        year=1890,
        provider="OpenUp!",
        data_provider="The Trustees of the Natural History Museum, London",
        dataset_name="870__OpenUp_NHM_London_Batch6",
        country="United Kingdom",
        languages=("en",),
        thumbnail_url="https://data.nhm.ac.uk/media/28ba9b57-608f-4397-b262-8c191d79b934",
        updated_at=at("2023-01-01T21:15:29.263"),
        concept_uris=tuple(
            f"http://openup.nhm-wien.ac.at/commonNames/{number}"
            for number in (345682, 737063, 737064, 345675, 345676, 345677, 712863, 345678, 345679, 345680, 345681)
        ),
        concept_labels={
            "def": ["edelgranbarmålar", "brychan sbriws", "edelgranbarmåler"],
            "eu": ["Spruce Carpet"],
            "hu": ["szőröscsápú fenyőaraszoló"],
            "nb": ["edelgranbarmåler"],
            "nl": ["Schijn-sparspanner"],
            "nn": ["edelgranbarmålar"],
            "sv": ["ädelgransfältmätare", "ädelgranfältmätare"],
        },
    ),
    hit(
        "/08711/https___www_biodiversitylibrary_org_item_246198",
        PDM,
        "open",
        f"{ARCHIVE_ORG}/BookReader/BookReaderPreview.php?id=essaimonographi00bonv&subPrefix=essaimonographi00bonv"
        "&itemPath=/18/items/essaimonographi00bonv&server=ia800106.us.archive.org&page=preview&",
        dataset_id="08711",
        title="Essai monographique sur la famille des Throscides.",
        titles={"def": ["Essai monographique sur la famille des Throscides."]},
        creators=("Bonvouloir, Henry de,  vicomte, 1839-1914",),
        year=1859,
        media_type="TEXT",
        provider="OpenUp!",
        data_provider="Cornell University Library",
        dataset_name="08711_Biodiversity_Heritage_Library",
        country="United States of America",
        languages=("en",),
        thumbnail_url="https://www.biodiversitylibrary.org/pagethumb/55476164",
        landing_url="https://doi.org/10.5962/bhl.title.146201",
        updated_at=at("2022-01-13T08:42:13.402"),
        concept_uris=(
            "http://data.europeana.eu/concept/2538",
            "http://data.europeana.eu/concept/6",
            "http://test113.ait.co.at/tematres/LinBi_Simple_Voc/?ID=Beetle",
        ),
        concept_labels={"de": ["Käfer", "Druckgrafik", "Buch"], "en": ["Print", "Beetle", "Book"]},
        label_languages=27,
    ),
    hit(
        "/283/1113_PM",
        BY,
        "open",
        "http://93.62.170.226/foto/1113_PM.jpg",
        dataset_id="283",
        title="Women's Head",
        titles={"en": ["Women's Head"], "it": ["Testa femminile"]},
        provider="CulturaItalia",
        data_provider="Madama Palace",
        dataset_name="283_CulturaItalia_Palazzo_Madama",
        country="Italy",
        languages=("it",),
        thumbnail_url="http://93.62.170.226/foto/1113_PM.jpg",
        landing_url="http://www.palazzomadamatorino.it/it/node/26343",
        updated_at=at("2020-07-02T11:44:03.385"),
        concept_uris=("http://culturaitalia.it/pico/thesaurus/4.1#opere_d_arte_visiva",),
        concept_labels={"en": ["Visual art works"], "it": ["Opere d'arte visiva"]},
    ),
    hit(
        "/90402/RP_P_BI_652",
        PDM,
        "open",
        "https://lh5.ggpht.com/2clSXzpwrq4ZjdSSBwq0neKe7ALp7yI62-Q4ZigCvmN8KQZRKc-WTQPrnqYweGftLZcp7cm9YiyMLw86FNTa2L6AU7w=s0",
        **RIJKSMUSEUM,
        title="Een bediende trekt zijn heer een schoen aan",
        titles={
            "nl": [
                "Een bediende trekt zijn heer een schoen aan",
                "Titelpagina voor: B. Balduinus, Calceus antiquus et mysticus; J. Nigronus, De caliga veterum. Leiden, 1711",
            ]
        },
        year=1667,  # 1711 is its second
        thumbnail_url="https://lh5.ggpht.com/"
        "2clSXzpwrq4ZjdSSBwq0neKe7ALp7yI62-Q4ZigCvmN8KQZRKc-WTQPrnqYweGftLZcp7cm9YiyMLw86FNTa2L6AU7w=s0",
        landing_url="http://hdl.handle.net/10934/RM0001.collect.75663",
        updated_at=at("2018-03-17T13:59:22.994"),
        concept_uris=("http://data.europeana.eu/concept/2090", "http://data.europeana.eu/concept/2538"),
        concept_labels={"de": ["Druckgrafik", "Papier"], "en": ["Print", "Paper"], "hr": ["Papir"]},
        label_languages=27,
    ),
    hit(
        "/783/item_2GJ2QIL43VJCXB3ATRRF4Y6TYINPPATK",
        PDM,
        "open",
        "http://previous.bildindex.de/bilder/d/ubl0012-0139",
        dataset_id="783",
        title="Bildnis der Mar. Anne de Chateauneuf",
        titles={"de": ["Bildnis der Mar. Anne de Chateauneuf"]},
        creators=(
            "Pinssio, Sébastien (Production), 1736-1766 (Radierer)",
            "Michel Odieuvre Erben (Production) (Verlag)",
        ),
        year=1765,
        provider="German Digital Library",
        data_provider="Leipzig University Library",
        dataset_name="783_DDB_UniversitatLeipzig",
        country="Germany",
        languages=("de",),
        thumbnail_url="http://previous.bildindex.de/bilder/d/ubl0012-0139",
        landing_url="http://www.portraitindex.de/documents/obj/33201830",
        updated_at=at("2023-03-14T18:41:34.460"),
        concept_uris=("http://vocab.getty.edu/aat/300053241", "http://vocab.getty.edu/aat/300194222"),
        concept_labels={
            "de": ["Seite (Buchbindung)"],
            "en": ["etching (printing process)", "pages (components)"],
            "es": ["páginas", "aguafuerte (proceso de impresión)"],
            "fr": ["page"],
            "nl": ["bladzijden", "etsen (drukprocedé)"],
        },
    ),
    hit(
        "/206/item_W6Q6AQZGGNPLS5LERKYPU5I55AVL2RW5",
        PDM,
        "open",
        f"{HEIDICON}/api/v1/objects/uuid/f77969b4-22a8-4357-a3b2-e9d57eee8312"
        "/file/id/388208/file_version/name/huge/disposition/inline",
        dataset_id="206",
        title="Schädel",
        titles={"de": ["Schädel"], "en": ["Skull"]},
        provider="German Digital Library",
        data_provider="Heidelberg University Library",
        dataset_name="206_DDB_Heidicon",
        country="Germany",
        languages=("de",),
        thumbnail_url=f"{HEIDICON}/api/v1/objects/uuid/f77969b4-22a8-4357-a3b2-e9d57eee8312"
        "/file/id/388208/file_version/name/huge/disposition/inline",
        landing_url=f"{HEIDICON}/detail/915038",
        updated_at=at("2021-04-29T13:12:25.900"),
        concept_uris=tuple(
            f"https://d-nb.info/gnd/{number}" for number in ("4133111-4", "4051938-7", "4001895-7", "4123412-1", "4021845-4")
        ),
        concept_labels={
            "def": ["Illustration", "Scha\u0308del", "Skelett", "Anatomie", "Grafik"]
        },  # an umlaut of two characters
    ),
    hit(
        "/90402/HA_0028610",
        PDM,
        "open",
        "https://lh4.ggpht.com/_uiYhfvfU6xvB3cNzBtr3_b572-3xsRvtzrN5zRisvhCOh5kCS33wClA0mPujLgCuRgIYpf-JE1udbcSdqONV4RVwbo=s0",
        **RIJKSMUSEUM,
        title="Zaal HG-1.9 tussenverdieping oost: 1700-1800: Europese hofkunst",
        titles={
            "nl": ["Zaal HG-1.9 tussenverdieping oost: 1700-1800: Europese hofkunst", "Interieur zalen na inrichting"],
        },
        thumbnail_url="https://lh4.ggpht.com/"
        "_uiYhfvfU6xvB3cNzBtr3_b572-3xsRvtzrN5zRisvhCOh5kCS33wClA0mPujLgCuRgIYpf-JE1udbcSdqONV4RVwbo=s0",
        landing_url="http://hdl.handle.net/10934/RM0001.HARCHIEF.28610",
        updated_at=at("2018-03-17T13:11:23.445"),
    ),
    # The one hit without a title: its first description stands there instead (§1.8).
    hit(
        "/951/Culturalia_0653e691_7502_47e9_b8ba_02c6094107f6",
        BY_SA,
        "open",
        f"{CULTURALIA}/_SB-CNMA-validat_2020_04%20Aprilie%202020_necatalogate_Muzeul%20ASTRA_necatalogate_Muzeul%20ASTRA"
        "_necatalogate_aprilie_2020/Imagini/3801CEBC391B4410B5B7ABD6CF561E55.jpg",
        dataset_id="951",
        title="Tablou de formă dreptunghiulară cu ramă decorată prin pictare cu auriu (spre interior) și cu baiț maro pe motive"
        " vegetale (spre exterior). Imaginea prezintă, în prim plan biserica din localitatea Cisnădioara, iar pe fundal (stânga"
        " sus) este pictată biserica fortificată din aceiași localitate. Cromatică: maro închis; auriu (ramă); albastru; verde;"
        " crem; cărămiziu (pânza pictată).",
        provider="National Heritage Institute, Bucharest",
        data_provider="ASTRA National Museum Complex",
        dataset_name="951_Ministerul_Culturii_Artifacts",
        country="Romania",
        languages=("ro",),
        # One layer of percent-encoding is the preview's, the other belongs to the address.
        thumbnail_url=f"{CULTURALIA}/_SB-CNMA-validat_2020_04%20Aprilie%202020_necatalogate_Muzeul%20ASTRA_necatalogate"
        "_Muzeul%20ASTRA_necatalogate_aprilie_2020/Imagini/3801CEBC391B4410B5B7ABD6CF561E55.jpg",
        landing_url="https://culturalia.ro/entities/0653e691-7502-47e9-b8ba-02c6094107f6/view",
        updated_at=at("2023-06-02T11:57:48.899"),
        concept_uris=(
            "http://vocab.getty.edu/aat/300162391",
            "http://vocab.getty.edu/aat/300033565",
            "http://vocab.getty.edu/aat/300014224",
            "http://data.europeana.eu/concept/1853",
            "http://data.europeana.eu/concept/1766",
            "http://vocab.getty.edu/aat/300053069",
            "http://vocab.getty.edu/aat/300053158",
            "http://vocab.getty.edu/aat/300054216",
            "http://vocab.getty.edu/aat/300011914",
            "http://data.europeana.eu/concept/1813",
            "http://vocab.getty.edu/aat/300010900",
            "http://vocab.getty.edu/aat/300007466",
            "http://data.europeana.eu/concept/1816",
            "http://data.europeana.eu/concept/47",
        ),
        concept_labels={"ru": ["Живопись", "Древесина", "Металл", "Христианский храм", "Картон"]},
        label_languages=27,
    ),
]

HITS_2019 = [
    hit(
        f"{EKT_ID}_prosopa_000085_10442_60124",
        IN_COPYRIGHT,
        "permission",
        f"{EKT_IMAGES}/93138/2244.jpg",
        **EKT,
        title="Χουρμούζη Φωτεινή",
        titles={"el": ["Χουρμούζη Φωτεινή"], "en": ["Chourmouzi Foteini"]},
        creators=("Καργόπουλος Β.",),
        year=1898,
        thumbnail_url=f"{EKT_THUMBNAILS}/pandektis_prosopa/000085-10442_60124",
        landing_url=ekt_landing("10442%2F60124", f"{EKT_ID}_prosopa_000085_10442_60124"),
        updated_at=at("2019-01-25T08:39:44.247"),
        concept_uris=(f"{EKT_TYPES}/fwtografia",),
        concept_labels={"el": ["Φωτογραφία"], "en": ["Photo"]},
    ),
    hit(
        f"{EKT_ID}_painters_000083_10442_86341",
        IN_COPYRIGHT,
        "permission",
        f"{EKT_IMAGES}/6568/0582.jpg",
        **EKT,
        title="Χριστός (Δέηση)",
        titles={"el": ["Χριστός (Δέηση)"], "en": ["Christ (Deesis)"]},
        creators=("Στρελίτζας-Μπαθάς Θεοφάνης", "Strelitzas-Bathas Theofanis"),
        year=1545,
        thumbnail_url=f"{EKT_THUMBNAILS}/pandektis_painters/000083-10442_86341",
        landing_url=ekt_landing("10442%2F86341", f"{EKT_ID}_painters_000083_10442_86341"),
        updated_at=at("2019-01-25T08:39:42.922"),
        concept_uris=(f"{EKT_TYPES}/Religious-visual-works",),
        concept_labels={"el": ["Έργο θρησκευτικής τέχνης"], "en": ["Religious visual works"]},
    ),
    hit(
        f"{EKT_ID}_prosopa_000085_10442_65869",
        IN_COPYRIGHT,
        "permission",
        f"{EKT_IMAGES}/116110/7824.jpg",
        **EKT,
        title="Λοβέρδος Σπυρίδων",
        titles={"el": ["Λοβέρδος Σπυρίδων"], "en": ["Loverdos Spyridon"]},
        creators=("Παρθένης Κωνσταντίνος",),
        year=1936,  # the years are not in order: 1874 is its second
        thumbnail_url=f"{EKT_THUMBNAILS}/pandektis_prosopa/000085-10442_65869",
        landing_url=ekt_landing("10442%2F65869", f"{EKT_ID}_prosopa_000085_10442_65869"),
        updated_at=at("2019-01-25T08:39:34.057"),
        concept_uris=(f"{EKT_TYPES}/zwgrafikh", f"{EKT_TYPES}/Replica"),
        concept_labels={"el": ["Ζωγραφική", "Αντίγραφο"], "en": ["Replica", "Painting"]},
    ),
    hit(
        f"{EKT_ID}_monastery_000084_10442_121918",
        IN_COPYRIGHT,
        "permission",
        f"{EKT_IMAGES}/10816/STA_A_394.jpg",
        **EKT,
        title="Oμόλογο αγοράς κελλίου Αγίων Μαρτύρων Κηρύκου και Ιουλίττης",
        titles={
            "el": ["Oμόλογο αγοράς κελλίου Αγίων Μαρτύρων Κηρύκου και Ιουλίττης"],
            "en": ["Avowal of the kellion (cell) of the Martyrs Kerykos and Ioulitta"],
        },
        thumbnail_url=f"{EKT_THUMBNAILS}/pandektis_monastery/000084-10442_121918",
        landing_url=ekt_landing("10442%2F121918", f"{EKT_ID}_monastery_000084_10442_121918"),
        updated_at=at("2019-01-25T08:39:32.272"),
        concept_uris=(f"{EKT_TYPES}/xeirografo",),
        concept_labels={"el": ["Χειρόγραφο"], "en": ["Manuscript"]},
    ),
]

# Replies of 2015 name no image, no country and no language of a title.
HITS_2015 = [
    hit(
        "/03919/FCD38BDE7A03579F24BEDA5D157943B75BB36F11",
        FREE_ACCESS,
        "permission",
        dataset_id="03919",
        title="tableau ; PORTRAIT DE MONA LISA (1479-1528) ; DITE LA JOCONDE",
        titles={"def": ["tableau ; PORTRAIT DE MONA LISA (1479-1528) ; DITE LA JOCONDE"]},
        provider="moteur Collections ; France",
        data_provider="Ministère de la culture et de la communication, Musées de France",
        dataset_name="03919_Ag_FR_MCC_JOCONDE_IMAGE",
        languages=("fr",),
        thumbnail_url="http://www.culture.gouv.fr/Wave/image/joconde/0372/m503604_00-010164_v.jpg",
        landing_url=portal_landing(
            "http%3A%2F%2Fwww.culture.gouv.fr%2Fpublic%2Fmistral%2Fjoconde_fr"
            "%3FACTION%3DCHERCHER%26FIELD_1%3DREF%26VALUE_1%3D000PE025604%26bt%3Deuropeanaapi",
            "moteur+Collections+%3B+France",
            "/03919/FCD38BDE7A03579F24BEDA5D157943B75BB36F11",
        ),
    ),
    hit(
        "/92034/GVNRC_SFA03_SFA022800005",
        FREE_ACCESS,  # an empty statement follows it
        "permission",
        dataset_id="92034",
        title="Heren met snorren en bolhoeden hebben zich geschaard om de 'Mona Lisa', een van de beroemdste werken van"
        " Leonardo da Vinci (1452-1519). Het schilderij is, na lange afwezigheid, terug in het Louvre. Parijs, 1914.",
        creators=("Fotograaf onbekend",),
        year=1914,
        provider="The European Library",
        data_provider="National Library of the Netherlands - Koninklijke Bibliotheek",
        dataset_name="92034_Ag_EU_TEL",
        languages=("nl",),
        thumbnail_url="http://resolver.kb.nl/resolve?urn=urn:gvn:SFA03:SFA022800005&role=thumbnail",
        landing_url=portal_landing(
            "http%3A%2F%2Fwww.geheugenvannederland.nl%2F%3F%2Fen%2Fitems%2FSFA03%3ASFA022800005%26bt%3Deuropeanaapi",
            "The+European+Library",
            "/92034/GVNRC_SFA03_SFA022800005",
        ),
        updated_at=at("2014-03-01T21:18:57.709"),
    ),
    hit(
        "/2023708/9B6BA5391C3EEEBC15BA8CE96B76253E353E5F59",
        PAID_ACCESS,
        "permission",
        dataset_id="2023708",
        title="Mona Lisa-Tablett",
        titles={"def": ["Mona Lisa-Tablett", "Mona Lisa tray"]},
        creators=("Hans Heckmann",),
        provider="EuroPhoto",
        data_provider="EuroPhoto DPA provider",
        dataset_name="2023708_Ag_EU_EuroPhoto_DPA",
        languages=("de",),
        thumbnail_url="http://www.europhoto.eu.com/images/DPA_33836264_thumb.jpg",
        # Labels without the concepts' addresses.
        concept_labels={
            "de": ["dokumentation", "photo"],
            "def": ["photograph", "documentation", "文档化", "照片"],
            "en": ["photograph", "documentation"],
        },
        label_languages=28,
    ),
    hit(
        "/08603/efg_censorshipcards_00041_FAA_CEN_191031_P1_pdf",
        FREE_ACCESS,
        "permission",
        dataset_id="08603",
        title="Der Raub der Mona Lisa",
        media_type="TEXT",
        provider="EFG - The European Film Gateway",
        data_provider="Filmarchiv Austria",
        dataset_name="08603_Ag_EU_EFG_FilmArchiv",
        languages=("de",),
        thumbnail_url="http://www.filmarchiv.at/efg/thumbs/censorshipcards/T_00041_FAA_CEN_191031_P1.jpg",
        updated_at=at("2014-07-16T08:28:23.046"),
    ),
    hit(
        "/2021651/ran__detail_aspx_xmldescid_14296690",
        FREE_ACCESS,
        "permission",
        dataset_id="2021651",
        title="Wikkel Savon Mona Lisa",
        titles={"def": ["Wikkel Savon Mona Lisa"]},
        year=1919,
        provider="Digitale Collectie",
        data_provider="Regionaal Archief Nijmegen",
        dataset_name="2021651_Ag_NL_DigitaleCollectie_archief_nijmegen",
        languages=("nl",),
        landing_url=portal_landing(
            "http%3A%2F%2Fstudiezaal.nijmegen.nl%2Fran%2F_detail.aspx%3Fxmldescid%3D14296690%26bt%3Deuropeanaapi",
            "Digitale+Collectie",
            "/2021651/ran__detail_aspx_xmldescid_14296690",
        ),
        updated_at=at("2014-12-10T14:23:41.663"),
    ),
    hit(
        "/04802/3F01774036ADF624097AB05C25B3AD0B0062E706",
        RESTRICTED_ACCESS,
        "permission",
        dataset_id="04802",
        title='Lio "Mona Lisa"',
        titles={"def": ['Lio "Mona Lisa"']},
        media_type="VIDEO",
        provider="Institut National de l'Audiovisuel",
        data_provider="Institut National de l'Audiovisuel",
        dataset_name="04802_AA_ASSETS_INA",
        languages=("fr",),
        thumbnail_url="http://www.ina.fr/images_v2/320x240/I08012422.jpeg",
        landing_url=portal_landing(
            "http%3A%2F%2Fwww.ina.fr%2Fvideo%2FI08012422%2Flio-mona-lisa.fr.html%23xtor%3DAL-3%3Fbt%3Deuropeanaapi",
            "Institut+National+de+l%27Audiovisuel",
            "/04802/3F01774036ADF624097AB05C25B3AD0B0062E706",
        ),
    ),
    hit(
        "/2023823/istituti_ProdottoDellaRicerca_html_cds_095_id_163357",
        RESTRICTED_ACCESS,
        "permission",
        dataset_id="2023823",
        title="Final report MONA LISA",
        titles={"def": ["Final report MONA LISA"]},
        creators=("F. Biscarini [Publication]",),
        media_type="TEXT",
        provider="Linked Heritage",
        data_provider="Consiglio nazionale delle ricerche",
        dataset_name="2023823_AG-EU_LinkedHeritage_SistemiComplessi",
        languages=("it",),
        landing_url=portal_landing(
            "http%3A%2F%2Fwww.cnr.it%2Fistituti%2FProdottoDellaRicerca.html%3Fcds%3D095%26id%3D163357%26bt%3Deuropeanaapi",
            "Linked+Heritage",
            "/2023823/istituti_ProdottoDellaRicerca_html_cds_095_id_163357",
        ),
    ),
]

SINGLE_HITS = {
    MINIMAL: hit(
        "/286/MAO1482",
        BY,
        "open",
        "http://93.62.170.226/foto/mao/2524_Cc102.jpg",
        dataset_id="286",
        title="Modello di granaio",
        titles={"def": ["Modello di granaio"]},
        provider="CulturaItalia",
        data_provider="Museum of Oriental Art",
        thumbnail_url="http://93.62.170.226/foto/mao/2524_Cc102.jpg",
        landing_url="http://www.culturaitalia.it/opencms/viewItem.jsp?language=en&case=&id=oai%3Amaotorino.it_MAO%3A1482",
    ),
    OPENVERSE: hit(
        "/2022704/lod_oai_bibliotecadigital_jcyl_es_26229_ent1",
        CC0,
        "open",
        f"{JCYL}/catalogo_imagenes/imagen_id.cmd?idImagen=102620362",
        dataset_id="2022704",
        title="Claustro del Monasterio de S. Salvador en Oña [Material gráfico]= Cloître du Monastère de S. Salvador à Oña",
        titles={
            "def": [
                "Claustro del Monasterio de S. Salvador en Oña [Material gráfico]= Cloître du Monastère de S. Salvador à Oña"
            ]
        },
        creators=(f"{HISPANA}#ent2", f"{HISPANA}#ent3", f"{HISPANA}#ent4"),
        provider="Hispana",
        data_provider="Biblioteca Digital de Castilla y León",
        dataset_name="2022704_Ag_ES_Hispana_esegen3",
        country="Spain",
        languages=("es",),
        thumbnail_url=f"{JCYL}/catalogo_imagenes/imagen_id.cmd?idImagen=102620362",
        landing_url=f"{JCYL}/consulta/registro.cmd?id=26229",
        updated_at=at("2018-01-16T10:52:45.548"),
        concept_uris=(f"{HISPANA}#ent5",),
        concept_labels={"es": ["Monasterio de San Salvador de Oña-Grabados"]},
    ),
    OPENVERSE_CUT: hit(
        "/9200579/zzwnbyhb",
        BY,
        "open",
        "https://iiif.wellcomecollection.org/image/V0013398.jpg/full/512,/0/default.jpg",
        dataset_id="9200579",
        title="Royal Naval Hospital, Greenwich, with ships and rowing boats in the foreground. Engraving.",
        titles={"def": ["Royal Naval Hospital, Greenwich, with ships and rowing boats in the foreground. Engraving."]},
        provider="Wellcome Collection",
        data_provider="Wellcome Collection",
        dataset_name="9200579_Ag_UK_WellcomeCollection_IIIF",
        country="United Kingdom",
        languages=("en",),
        thumbnail_url="https://iiif.wellcomecollection.org/image/V0013398.jpg/full/500,/0/default.jpg",
        landing_url="https://wellcomecollection.org/works/zzwnbyhb",
        updated_at=at("2019-06-09T11:48:32.594"),
    ),
}

MEMORIX = "https://images.memorix.nl/nda/thumb"
SHIP = "010a31d7-9316-54d7-6ad0-83b9914688d9.jpg"
EDASI = (
    "http://iiif.europeana.eu/records/WEAN3VQN7DMJ7FZ5HV5ALCO5MUPSARJXSZVSWIXSRTXPQAHTRLXQ/representations/presentation_images"
    "/versions/9667bc30-fd2b-11e5-bc8a-fa163e60dd72/files/node-3/image/NLE/Edasi/1936/03/30/1/19360330_1-0001"
)
DEBATS = "http://www.theeuropeanlibrary.org/tel4/newspapers/issue/fullscreen/3000117822022"  # a viewer's page, no image

WHOLE_RECORDS = {
    # A title is nowhere, so the first description stands there; names stand among the organizations; the page of the museum
    # and a smaller picture stand before the image among the web resources.
    RECORD_2023: fact_sheet(
        "/2021650/memorix_0000ee69_1b9e_6823_478f_c88af61736c6",
        CC0,
        "open",
        dataset_id="2021650",
        title="Een Agusta Bell AB-412SP van 303 Squadron boven het betonningsvaartuig Terschelling (1988-) van Rijkswaterstaat,"
        " ingedeeld bij de Kustwacht, tijdens de\n          reddingsoefening 'Get Wet'.&nbsp;",
        titles={},
        creators=("Fotovlucht Vliegbasis Soesterberg",),
        provider="Dutch Collections for Europe",
        data_provider="Netherlands Institute for Military History",
        dataset_name="2021650_Ag_NL_DigitaleCollectie_nimh",
        country="Netherlands",
        languages=("nl",),
        image_url=f"{MEMORIX}/fullsize/{SHIP}",
        image_urls=(f"{MEMORIX}/fullsize/{SHIP}",),
        media=(MediaFile(f"{MEMORIX}/fullsize/{SHIP}", CC0, "open", "image/jpeg", 795, 1000, 157858, None),),
        thumbnail_url=f"{MEMORIX}/640x480/{SHIP}",
        landing_url="http://nimh-beeldbank.defensie.nl/memorix/0000ee69-1b9e-6823-478f-c88af61736c6",
        updated_at=at("2023-08-01T14:02:32.057"),
    ),
    NEWSPAPER_TITLE: fact_sheet(
        "/9200356/BibliographicResource_3000100340004",
        PDM,
        "open",
        dataset_id="9200356",
        title="Edasi",
        titles={"def": ["Edasi"]},
        media_type="TEXT",
        provider="The European Library",
        data_provider="National Library of Estonia",
        dataset_name="9200356_Ag_EU_TEL_a0616_Newspapers_Estonia",
        country="estonia",
        languages=("et",),
        image_url=f"{EDASI}/full/full/0/default.jpg",
        image_urls=(f"{EDASI}/full/full/0/default.jpg",),
        media=(MediaFile(f"{EDASI}/full/full/0/default.jpg", PDM, "open", iiif_service=EDASI),),
        thumbnail_url=f"{EDASI}/full/full/0/default.jpg",
        updated_at=at("2017-12-01T09:17:39.146"),
    ),
    NEWSPAPER_ISSUE: fact_sheet(
        "/9200408/BibliographicResource_3000117822022",
        PDM,
        "open",
        dataset_id="9200408",
        title="Le Journal des Débats politiques et littéraires - 1940-02-15",
        titles={"def": ["Le Journal des Débats politiques et littéraires - 1940-02-15"]},
        year=1940,
        media_type="TEXT",
        provider="The European Library",
        data_provider="National Library of France",
        dataset_name="9200408_Ag_EU_TEL_a0599_NewspapersGallica",
        country="france",
        languages=("fr",),
        image_url=DEBATS,
        image_urls=(DEBATS,),
        media=(MediaFile(DEBATS, PDM, "open"),),
        thumbnail_url="http://gallica.bnf.fr/ark:/12148/bpt6k509660d/f1.thumbnail",
        updated_at=at("2015-04-02T20:06:07.708"),
        concept_uris=("http://vocab.getty.edu/aat/300026656",),
        concept_labels={"en": ["newspapers"], "es": ["diarios (noticias)"], "nl": ["kranten"]},
    ),
}
# Its landing page is a redirect of a preview host, with a key in the path: what is kept of it is not settled here.
del WHOLE_RECORDS[NEWSPAPER_ISSUE]["landing_url"]

EXPECTED = [
    *((STANDARD_2024, facts) for facts in HITS_2024),
    *((RICH_2019, facts) for facts in HITS_2019),
    *((LEGACY_2015, facts) for facts in HITS_2015),
    *SINGLE_HITS.items(),
    *WHOLE_RECORDS.items(),
]


def records(name: str) -> list[Record]:
    """The records of a real reply, which has nothing but records."""
    found = list(parse_file(SAMPLES / name))
    assert [row for row in found if not isinstance(row, Record)] == []
    return [record for record in found if isinstance(record, Record)]


def hits(name: str) -> list[dict[str, Any]]:
    """The items of a real Search reply as they stand in the file."""
    reply = json.loads((SAMPLES / name).read_text(encoding="utf-8"))
    return reply if isinstance(reply, list) else reply.get("items", [] if "facets" in reply else [reply])


def known(record: Record, expected: dict[str, Any]) -> dict[str, Any]:
    """The fields that an expectation names. Labels come in up to 28 languages: those it names, and their number."""
    found = {name: getattr(record, name) for name in expected if name != "label_languages"}
    labels = {language: record.concept_labels.get(language) for language in expected["concept_labels"]}
    return found | {"concept_labels": labels, "label_languages": len(record.concept_labels)}


@with_samples
def test_every_saved_search_and_record_reply_has_an_expected_number_of_records() -> None:
    there = {path.name for pattern in ("search_*.json", "record_*.json") for path in SAMPLES.glob(pattern)}
    assert there == set(RECORDS)
    assert {name for name, _ in EXPECTED} == {name for name, number in RECORDS.items() if number}


@with_samples
@pytest.mark.parametrize(("name", "number"), RECORDS.items(), ids=lambda value: str(value).partition("__")[0])
def test_a_real_reply_gives_its_records_and_no_other_line(name: str, number: int) -> None:
    found = records(name)
    assert (len(found), len({record.record_id for record in found})) == (number, number)


@with_samples
@pytest.mark.parametrize(
    ("name", "expected"), EXPECTED, ids=[f"{name.partition('__')[0]}:{facts['record_id'][-30:]}" for name, facts in EXPECTED]
)
def test_a_real_record_says_what_its_reply_says(name: str, expected: dict[str, Any]) -> None:
    found = {record.record_id: record for record in records(name)}[expected["record_id"]]
    assert known(found, expected) == expected


@with_samples
@pytest.mark.parametrize("name", [name for name in RECORDS if name.startswith("search_")])
def test_every_hit_of_a_real_reply_is_read_field_by_field(name: str) -> None:
    """Another reading of the same fields, without any code of the project."""
    for record, item in zip(records(name), hits(name), strict=True):
        one = {field: (item.get(field) or [""])[0] for field in ("title", "provider", "dataProvider", "country", "rights")}
        assert record.record_id == item["id"] and record.dataset_id == item["id"].split("/")[1]
        assert (record.title, record.provider, record.data_provider) == (one["title"], one["provider"], one["dataProvider"])
        assert (record.country, record.rights, record.media_type) == (one["country"], one["rights"], item["type"])
        assert record.languages == tuple(item.get("language", ()))
        assert record.dataset_name == item.get("edmDatasetName", [""])[0]
        assert record.year == (int(item["year"][0]) if item.get("year") else None)
        assert record.image_urls == tuple(item.get("edmIsShownBy", ()))
        assert record.image_url == (record.image_urls[0] if record.image_urls else None)
        assert record.media == tuple(MediaFile(address, record.rights, record.rights_category) for address in record.image_urls)
        previews = [parse_qs(urlsplit(address).query)["uri"][0] for address in item.get("edmPreview", ())]
        assert record.thumbnail_url == (previews[0] if previews else None)
        landings = [address.replace("/REDACTEDKEY/", "/-/") for address in item.get("edmIsShownAt", ())]
        assert record.landing_url == (landings[0] if landings else None)
        assert record.concept_uris == tuple(item.get("edmConcept", ()))
        assert record.concept_labels == item.get("edmConceptPrefLabelLangAware", {})
        assert list(record.concept_labels) == sorted(record.concept_labels)
        if "dcTitleLangAware" in item:
            assert record.titles == item["dcTitleLangAware"]
        if "timestamp_update_epoch" in item:
            epoch = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=item["timestamp_update_epoch"])
            assert record.updated_at == epoch and record.updated_at.tzinfo is UTC


@with_samples
def test_the_whole_of_the_real_replies_adds_up() -> None:
    of_2024, of_2019, of_2015 = records(STANDARD_2024), records(RICH_2019), records(LEGACY_2015)
    by_sa_3 = "http://creativecommons.org/licenses/by-sa/3.0/"
    assert Counter(record.rights for record in of_2024) == {PDM: 32, CC0: 6, BY_SA: 5, BY: 4, by_sa_3: 3}
    assert Counter(record.rights for record in of_2019) == {IN_COPYRIGHT: 12}
    assert Counter(record.rights for record in of_2015) == {FREE_ACCESS: 6, RESTRICTED_ACCESS: 5, PAID_ACCESS: 1}
    found = [{record.rights_category for record in part} for part in (of_2024, of_2019, of_2015)]
    assert found == [{"open"}, {"permission"}, {"permission"}]
    assert Counter(record.media_type for record in of_2024) == {"IMAGE": 46, "TEXT": 4}
    assert Counter(record.media_type for record in of_2015) == {"IMAGE": 9, "TEXT": 2, "VIDEO": 1}
    assert [sum(bool(record.image_url) for record in part) for part in (of_2024, of_2019, of_2015)] == [50, 12, 0]
    assert [sum(bool(record.landing_url) for record in part) for part in (of_2024, of_2019, of_2015)] == [46, 12, 10]
    assert [sum(bool(record.thumbnail_url) for record in part) for part in (of_2024, of_2019, of_2015)] == [50, 12, 9]
    assert [sum(record.year is not None for record in part) for part in (of_2024, of_2019, of_2015)] == [13, 5, 3]
    assert [sum(bool(record.creators) for record in part) for part in (of_2024, of_2019, of_2015)] == [28, 5, 7]
    assert [sum(bool(record.concept_uris) for record in part) for part in (of_2024, of_2019, of_2015)] == [48, 9, 0]
    assert [sum(record.updated_at is not None for record in part) for part in (of_2024, of_2019, of_2015)] == [50, 12, 5]
    assert sum(record.thumbnail_url != record.image_url for record in of_2024) == 12  # as contract §1.8 counts them


@with_samples
def test_an_address_of_a_provider_keeps_a_parameter_that_only_looks_like_a_key() -> None:
    found = {record.record_id: record for record in records(STANDARD_2024)}["/2021009/_2E64701B6F7719A6EADD4B5BDCEB1004"]
    address = (
        "http://museoliittorepox.vserver.fi:8080/mpthumbnailhelper/download?id=1013018&size=extra_large&key=T3st1&orgid=43094"
    )
    assert (found.image_url, found.thumbnail_url) == (address, address)


@with_samples
def test_no_key_of_a_saved_reply_gets_through() -> None:
    paths = sorted(SAMPLES.glob("*.json"))
    assert len(paths) > len(RECORDS)
    for path in paths:
        assert "REDACTEDKEY" not in repr(list(parse_file(path))), path.name


# --- Files that hold no records ---


def parsed(folder: Path, content: Any) -> list[Record | OutcomeRow]:
    """What a file makes that holds this text, these bytes, or this value as JSON."""
    path = folder / "reply.json"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return list(parse_file(path))


def only_row(found: list[Record | OutcomeRow]) -> OutcomeRow:
    assert len(found) == 1
    row = found[0]
    assert isinstance(row, OutcomeRow), row
    assert (row.stage, row.attempt) == ("harvest", 1) and row.detail
    return row


@with_samples
def test_a_reply_of_the_entity_api_is_one_row_that_keeps_it() -> None:
    paths = sorted(SAMPLES.glob("entity__*.json"))
    assert len(paths) == 10
    for path in paths:
        row = only_row(list(parse_file(path)))
        assert (row.outcome, row.reason, row.record_id) == (Outcome.REJECTED, Reason.UNPARSEABLE, None), path.name
        assert row.raw is not None and json.loads(row.raw).items() >= _without_addresses(path), path.name


def _without_addresses(path: Path) -> set[tuple[str, Any]]:
    """The plain fields of a reply that hold neither a key nor an address with one."""
    reply = json.loads(path.read_text(encoding="utf-8"))
    return {(name, value) for name, value in reply.items() if isinstance(value, str | int) and name not in ("apikey", "id")}


@with_samples
def test_an_entity_that_was_not_found_says_so() -> None:
    row = only_row(list(parse_file(SAMPLES / "entity__metis-framework__resolve-uri-nomatch.json")))
    assert "No entity found for sameAs/exactMatch URI" in row.detail


@with_samples
def test_a_vocabulary_of_classes_is_no_reply() -> None:
    row = only_row(list(parse_file(SAMPLES / VOCABULARY)))
    assert (row.outcome, row.reason, row.record_id) == (Outcome.REJECTED, Reason.MISSING_FIELD, None)
    assert row.raw is not None and len(json.loads(row.raw)) == 20


def test_a_page_of_the_entity_api_is_no_search_reply_though_it_has_items(tmp_path: Path) -> None:
    context = "http://www.europeana.eu/schemas/context/entity.jsonld"
    page = {"@context": context, "type": "ResultPage", "total": 1, "items": [{"id": "/1/a", "type": "Concept"}]}
    row = only_row(parsed(tmp_path, page))
    assert (row.outcome, row.reason) == (Outcome.REJECTED, Reason.UNPARSEABLE)


def refusal(code: str, error: str, message: str = "", **more: Any) -> dict[str, Any]:
    """An error body: empty fields are left out, and the key is said again (contract §1.9)."""
    said = {"error": error, "message": message, "code": code}
    return {"apikey": "SECRETKEY", "success": False} | {name: text for name, text in said.items() if text} | more


ERRORS = [
    {"success": False, "error": "Unauthorized", "message": "Invalid API key provided!", "code": "invalid_apikey"},
    refusal("401_key_invalid", "API key is invalid", "Please register for an API key"),
    refusal("401_key_disabled", "You API key has been disabled", "Please register for a new API key"),
    refusal("403_scope_missing", "The scope is missing"),
    refusal(
        "429_limit_personal", "Personal key client has reached the limit of 1000 requests per 60 minutes", "Ask for another"
    ),
    refusal("429_limit_project", "Project key client has reached the limit of 10000 requests per 60 minutes"),
    refusal("400-SC", "Invalid cursor", "Please make sure you encode the cursor value before sending it to the API."),
    refusal("504-SA", "The search took too long"),
    refusal("", "Required parameter 'query' missing"),
    refusal("", "Internal server error"),
    # The other shape, of newer services.
    refusal(
        "429_limit_personal",
        "Too Many Requests",
        "the limit is reached",
        **{"@context": "https://api.europeana.eu/schema/context/api.jsonld", "type": "ErrorResponse", "status": 429},
    ),
]


@pytest.mark.parametrize("body", ERRORS, ids=lambda body: body.get("code", body["error"]))
def test_an_error_reply_is_one_row_with_its_code_and_its_words(tmp_path: Path, body: dict[str, Any]) -> None:
    row = only_row(parsed(tmp_path, body))
    assert (row.outcome, row.reason, row.record_id) == (Outcome.REJECTED, Reason.UNPARSEABLE, None)
    assert all(body[name] in row.detail for name in ("code", "error", "message") if name in body)
    assert row.raw is not None and json.loads(row.raw) == {name: value for name, value in body.items() if name != "apikey"}
    assert "SECRETKEY" not in repr(row)


def test_an_unknown_record_is_gone_under_the_id_that_was_asked_for(tmp_path: Path) -> None:
    body = {"apikey": "SECRETKEY", "success": False, "error": "Invalid record identifier: /2021650/nothing_here"}
    row = only_row(parsed(tmp_path, body))
    assert (row.outcome, row.reason) == (Outcome.GONE, Reason.GONE)
    assert (row.record_id, row.input_id) == ("/2021650/nothing_here", "/2021650/nothing_here")
    assert "SECRETKEY" not in repr(row)


def tombstone(record_id: str, *changes: dict[str, Any]) -> dict[str, Any]:
    reason = "http://data.europeana.eu/vocabulary/brokenLink"
    deletion = {"type": "Delete", "context": reason, "endTime": "2026-01-01T00:00:00Z"}
    aggregation = {"about": f"/aggregation/europeana{record_id}", "changeLog": [*changes, deletion]}
    return {"about": record_id, "europeanaAggregation": aggregation}


@pytest.mark.parametrize("success", [True, False])
def test_a_record_that_was_taken_down_is_gone(tmp_path: Path, success: bool) -> None:
    body = {"apikey": "SECRETKEY", "success": success, "requestNumber": 999, "object": tombstone("/2021650/gone")}
    row = only_row(parsed(tmp_path, body))
    assert (row.outcome, row.reason, row.record_id) == (Outcome.GONE, Reason.GONE, "/2021650/gone")
    assert row.input_id == "/2021650/gone" and "SECRETKEY" not in repr(row)


def test_only_the_end_of_the_change_log_tells_that_a_record_is_gone() -> None:
    earlier = {"type": "Create", "endTime": "2020-01-01T00:00:00Z"}
    row = parse_object(tombstone("/2021650/gone", earlier))
    assert isinstance(row, OutcomeRow) and row.outcome is Outcome.GONE
    restored = tombstone("/2021650/back")
    restored["europeanaAggregation"]["changeLog"].append({"type": "Create", "endTime": "2026-02-01T00:00:00Z"})
    assert isinstance(parse_object(restored), Record)


def test_a_moved_record_stands_under_its_new_id(tmp_path: Path) -> None:
    """The API answers the old id with the new record (contract §2.2)."""
    asked_for = "/2021650/old"
    found = parsed(tmp_path, {"apikey": "SECRETKEY", "success": True, "object": OBJECT | {"about": "/90402/new"}})
    assert len(found) == 1
    assert isinstance(found[0], Record) and found[0].record_id == "/90402/new" != asked_for
    assert found[0].dataset_id == "90402"


@pytest.mark.parametrize(
    "reply",
    [
        {"success": True, "itemsCount": 0, "totalResults": 0, "items": []},
        {"success": True, "itemsCount": 0, "totalResults": 0},
        {"success": True, "itemsCount": 0, "totalResults": 138152, "facets": [{"name": "TYPE", "fields": []}]},
        {"success": True, "facets": [{"name": "TYPE", "fields": [{"label": "IMAGE", "count": 3}]}]},
        {"action": "search.json", "success": True, "itemsCount": 0, "totalResults": 5, "facets": []},
        [],
    ],
)
def test_a_reply_without_hits_makes_no_line(tmp_path: Path, reply: Any) -> None:
    assert parsed(tmp_path, reply) == []


def test_a_reply_with_facets_and_hits_makes_a_line_a_hit(tmp_path: Path) -> None:
    reply = {"success": True, "itemsCount": 2, "items": [{"id": "/1/a"}, {"id": "no id"}], "facets": [{"name": "TYPE"}]}
    record, row = parsed(tmp_path, reply)
    assert isinstance(record, Record) and record.record_id == "/1/a"
    assert isinstance(row, OutcomeRow) and row.reason is Reason.MISSING_FIELD


@pytest.mark.parametrize("shape", ["an item", "a list", "a reply", "an object", "a record reply"])
def test_a_record_is_found_however_it_was_saved(tmp_path: Path, shape: str) -> None:
    item, whole = {"id": "/2021650/abc", "title": ["Ship"]}, {"about": "/2021650/abc", "title": ["Ship"], "proxies": []}
    shapes = {
        "an item": item,
        "a list": [item],
        "a reply": {"success": True, "itemsCount": 1, "items": [item]},
        "an object": whole,
        "a record reply": {"success": True, "object": whole},
    }
    found = parsed(tmp_path, shapes[shape])
    assert [(one.record_id, one.title) for one in found if isinstance(one, Record)] == [("/2021650/abc", "Ship")]


@pytest.mark.parametrize(
    "content",
    ["", " ", "{", "<html><body>502 Bad Gateway</body></html>", "callback({})", '{"items": [', b"\xff\xfe\x00", b"\x89PNG\r\n"],
    ids=["empty", "blank", "half", "page", "jsonp", "cut off", "no text", "picture"],
)
def test_a_file_that_is_no_json_is_one_row_under_its_name(tmp_path: Path, content: str | bytes) -> None:
    row = only_row(parsed(tmp_path, content))
    assert (row.outcome, row.reason, row.record_id) == (Outcome.REJECTED, Reason.UNPARSEABLE, None)
    assert row.input_id == str(tmp_path / "reply.json") and row.detail.startswith("not a JSON file")


@pytest.mark.parametrize("name", ["missing.json", "."])
def test_a_file_that_cannot_be_opened_is_one_row_under_its_name(tmp_path: Path, name: str) -> None:
    row = only_row(list(parse_file(tmp_path / name)))
    assert (row.outcome, row.reason, row.record_id) == (Outcome.REJECTED, Reason.UNPARSEABLE, None)
    assert row.input_id == str(tmp_path / name)


def test_a_file_nested_beyond_measure_is_one_row(tmp_path: Path) -> None:
    assert only_row(parsed(tmp_path, "[" * 200_000)).reason is Reason.UNPARSEABLE
    assert only_row(parsed(tmp_path, '{"id":' * 200_000 + "1" + "}" * 200_000)).outcome is Outcome.REJECTED


@pytest.mark.parametrize("text", ["42", "-1.5", "true", "null", '"a text"'])
def test_a_json_value_that_is_no_reply_is_one_row(tmp_path: Path, text: str) -> None:
    row = only_row(parsed(tmp_path, text))
    assert (row.outcome, row.reason, row.record_id) == (Outcome.REJECTED, Reason.UNPARSEABLE, None)
    assert row.raw is not None and json.loads(row.raw) == json.loads(text)


def test_a_list_of_anything_is_one_line_an_entry(tmp_path: Path) -> None:
    found = parsed(tmp_path, [1, None, "x", {}, [], {"id": "/1/a"}])
    assert [type(one) for one in found] == [OutcomeRow] * 5 + [Record]


def test_a_byte_order_mark_before_a_reply_does_no_harm(tmp_path: Path) -> None:
    found = parsed(tmp_path, b"\xef\xbb\xbf" + json.dumps({"id": "/1/a", "title": ["Ä"]}).encode())
    assert [one.title for one in found if isinstance(one, Record)] == ["Ä"]


# --- A record with everything, and without ---

IMAGE = "https://img.example.org/a.jpg"
VERSO = "https://img.example.org/b.jpg"
PAGE = "https://museum.example.org/a"
SMALL = "https://img.example.org/small.jpg"
MUSEUM = "http://data.europeana.eu/organization/1"
AGGREGATOR = "http://data.europeana.eu/organization/2"

EUROPEANA_PROXY: dict[str, Any] = {
    "about": "/proxy/europeana/2021650/abc",
    "europeanaProxy": True,
    "lineage": ["/proxy/provider/2021650/abc"],
    "edmType": "IMAGE",
    "dcType": {"def": ["http://data.europeana.eu/concept/47"]},
    "dcTitle": {"en": ["A translated title"]},
    "year": {"def": ["1642"]},
}
PROVIDER_PROXY: dict[str, Any] = {
    "about": "/proxy/provider/2021650/abc",
    "europeanaProxy": False,
    "edmType": "IMAGE",
    "dcTitle": {"nl": ["Nachtwacht"], "en": ["Night watch"]},
    "dcCreator": {"def": ["Rembrandt"], "nl": ["Rembrandt", "Lastman"]},
    "dcDescription": {"en": ["A company of militia"]},
    "dcSubject": {"en": ["militia"]},
    "dcType": {"en": ["painting"]},
}
AGGREGATOR_PROXY: dict[str, Any] = {
    "about": "/proxy/aggregator/2021650/abc",
    "europeanaProxy": False,
    "edmType": "IMAGE",
    "lineage": ["/proxy/provider/2021650/abc"],
    "dcTitle": {"en": ["The aggregator's title"]},
    "dcSubject": {"en": ["enriched"]},
}
IMAGE_RESOURCE: dict[str, Any] = {
    "about": IMAGE,
    "webResourceEdmRights": {"def": [BY]},
    "ebucoreHasMimeType": "image/jpeg",
    "ebucoreFileByteSize": 157858,
    "ebucoreWidth": 795,
    "ebucoreHeight": 1000,
    "svcsHasService": ["https://iiif.example.org/a"],
}
VERSO_RESOURCE: dict[str, Any] = {"about": VERSO, "ebucoreHasMimeType": "image/tiff", "ebucoreWidth": 60, "ebucoreHeight": 40}
PAGE_RESOURCE: dict[str, Any] = {"about": PAGE, "ebucoreHasMimeType": "text/html", "ebucoreFileByteSize": 0, "ebucoreWidth": 7}
AGGREGATION: dict[str, Any] = {
    "about": "/aggregation/provider/2021650/abc",
    "edmDataProvider": {"def": [MUSEUM]},
    "edmProvider": {"def": [AGGREGATOR]},
    "edmIsShownBy": IMAGE,
    "edmIsShownAt": PAGE,
    "edmObject": SMALL,
    "hasView": [VERSO],
    "edmRights": {"def": [IN_COPYRIGHT]},
    "webResources": [PAGE_RESOURCE, VERSO_RESOURCE, IMAGE_RESOURCE],
}
OBJECT: dict[str, Any] = {
    "about": "/2021650/abc",
    "type": "IMAGE",
    "title": ["Night watch"],
    "year": ["1642"],
    "country": ["Netherlands"],
    "language": ["nl", "en"],
    "edmDatasetName": ["2021650_Museum"],
    "europeanaCollectionName": ["an older name"],
    "aggregations": [AGGREGATION],
    "europeanaAggregation": {
        "about": "/aggregation/europeana/2021650/abc",
        "edmCountry": {"def": ["netherlands"]},
        "edmLanguage": {"def": ["nl"]},
        "edmPreview": "https://api.europeana.eu/thumbnail/v2/url.json?uri=https%3A%2F%2Fimg.example.org%2Fsmall.jpg&type=IMAGE",
    },
    "proxies": [EUROPEANA_PROXY, PROVIDER_PROXY],
    "concepts": [
        {"about": "http://data.europeana.eu/concept/47", "prefLabel": {"en": ["Painting"], "nl": ["Schilderij"]}},
        {"about": "http://vocab.getty.edu/aat/300033618", "prefLabel": {"en": ["paintings", "Painting"]}},
    ],
    "organizations": [
        {"about": AGGREGATOR, "prefLabel": {"en": ["The aggregator"]}},
        {"about": MUSEUM, "prefLabel": {"nl": ["Het museum"], "en": ["The museum"]}},
    ],
    "timestamp_update": "2025-05-04T21:01:05.123Z",
}


def whole(**changes: Any) -> Record:
    found = parse_object(OBJECT | changes)
    assert isinstance(found, Record), found
    return found


def shown(**changes: Any) -> Record:
    """The record with changes to its aggregation."""
    return whole(aggregations=[AGGREGATION | changes])


def test_a_whole_object_becomes_a_record_with_every_field() -> None:
    assert whole() == Record(
        record_id="/2021650/abc",
        dataset_id="2021650",
        title="Night watch",
        titles={"en": ["Night watch"], "nl": ["Nachtwacht"]},
        descriptions={"en": ["A company of militia"]},
        creators=("Rembrandt", "Lastman"),
        creator_names={"def": ["Rembrandt"], "nl": ["Rembrandt", "Lastman"]},
        subjects={"en": ["militia"]},
        types={"en": ["painting"]},
        year=1642,
        media_type="IMAGE",
        concept_uris=("http://data.europeana.eu/concept/47", "http://vocab.getty.edu/aat/300033618"),
        concept_labels={"en": ["Painting", "paintings"], "nl": ["Schilderij"]},
        provider="The aggregator",
        data_provider="The museum",
        dataset_name="2021650_Museum",
        country="Netherlands",
        languages=("nl", "en"),
        rights=BY,
        rights_category="open",
        record_rights=IN_COPYRIGHT,
        image_url=IMAGE,
        image_urls=(IMAGE, VERSO),
        media=(
            MediaFile(IMAGE, BY, "open", "image/jpeg", 795, 1000, 157858, "https://iiif.example.org/a"),
            MediaFile(VERSO, IN_COPYRIGHT, "permission", "image/tiff", 60, 40),
        ),
        thumbnail_url=SMALL,
        landing_url=PAGE,
        updated_at=datetime(2025, 5, 4, 21, 1, 5, 123_000, tzinfo=UTC),
    )


def test_an_id_alone_makes_a_record_with_nothing_in_it() -> None:
    assert parse_object({"about": "/1/a"}) == Record("/1/a", "1", "")


@pytest.mark.parametrize("name", sorted(set(OBJECT) - {"about"}))
def test_any_part_of_an_object_may_be_missing(name: str) -> None:
    found = parse_object({part: value for part, value in OBJECT.items() if part != name})
    assert isinstance(found, Record) and found.record_id == "/2021650/abc"


@pytest.mark.parametrize("name", sorted(set(OBJECT) - {"about"}))
@pytest.mark.parametrize("empty", [None, []])
def test_any_part_of_an_object_may_be_empty(name: str, empty: Any) -> None:
    assert isinstance(parse_object(OBJECT | {name: empty}), Record)


@pytest.mark.parametrize(
    "proxies",
    [
        [EUROPEANA_PROXY, PROVIDER_PROXY],
        [PROVIDER_PROXY, EUROPEANA_PROXY],
        [EUROPEANA_PROXY, AGGREGATOR_PROXY, PROVIDER_PROXY],
        [AGGREGATOR_PROXY, PROVIDER_PROXY, EUROPEANA_PROXY],
        [PROVIDER_PROXY, AGGREGATOR_PROXY, EUROPEANA_PROXY],
    ],
    ids=["new order", "old order", "new with aggregator", "aggregator first", "aggregator between"],
)
def test_the_providers_own_words_are_found_wherever_they_stand(proxies: list[dict[str, Any]]) -> None:
    assert whole(proxies=proxies) == whole()


def test_a_proxy_without_a_type_is_not_the_providers_own() -> None:
    untyped = {"about": "/proxy/other/2021650/abc", "europeanaProxy": False, "dcTitle": {"en": ["Another title"]}}
    assert whole(proxies=[untyped, PROVIDER_PROXY, EUROPEANA_PROXY]) == whole()


def test_an_empty_lineage_is_none() -> None:
    assert whole(proxies=[AGGREGATOR_PROXY, PROVIDER_PROXY | {"lineage": []}, EUROPEANA_PROXY]) == whole()


def test_without_a_proxy_of_its_own_a_record_still_has_its_year_and_type() -> None:
    found = parse_object({"about": "/1/a", "proxies": [EUROPEANA_PROXY]})
    assert isinstance(found, Record)
    assert (found.year, found.media_type) == (1642, "IMAGE")


def test_the_year_of_the_object_counts_before_those_of_its_proxies() -> None:
    assert whole(year=["1639"]).year == 1639
    assert whole(year=None).year == 1642  # Europeana's proxy
    assert whole(year=["about 1640"]).year == 1642
    assert whole(year=None, proxies=[PROVIDER_PROXY | {"year": {"def": ["1641"]}}]).year == 1641
    assert whole(year=None, proxies=[PROVIDER_PROXY]).year is None


def test_a_record_without_a_title_shows_its_description() -> None:
    untitled = {name: value for name, value in PROVIDER_PROXY.items() if name != "dcTitle"}
    found = whole(title=None, proxies=[EUROPEANA_PROXY, untitled])
    assert (found.title, found.titles) == ("A company of militia", {})
    titled = whole(title=None)
    assert titled.title in ("Night watch", "Nachtwacht")


def test_a_provider_is_called_by_its_name_not_by_its_address() -> None:
    assert (whole().provider, whole().data_provider) == ("The aggregator", "The museum")
    assert shown(edmDataProvider={"def": ["A plain name"]}).data_provider == "A plain name"
    assert shown(edmDataProvider={"en": ["A plain name"]}).data_provider == "A plain name"


def test_a_name_in_any_language_is_better_than_an_address() -> None:
    assert whole(organizations=[{"about": MUSEUM, "prefLabel": {"nl": ["Het museum"]}}]).data_provider == "Het museum"


@pytest.mark.parametrize("organizations", [None, [], [{"about": AGGREGATOR, "prefLabel": {"en": ["x"]}}], [{"about": MUSEUM}]])
def test_an_organization_that_nobody_names_keeps_its_address(organizations: Any) -> None:
    assert whole(organizations=organizations).data_provider == MUSEUM


def test_the_provider_of_an_older_object_stands_at_its_top() -> None:
    older = {name: value for name, value in AGGREGATION.items() if name != "edmProvider"}
    assert whole(aggregations=[older], provider=["The aggregator of 2018"]).provider == "The aggregator of 2018"


def test_the_aggregation_that_shows_the_object_counts() -> None:
    other = {
        "about": "/aggregation/aggregator/2021650/abc",
        "edmRights": {"def": [CC0]},
        "edmObject": "https://x.org/other.jpg",
    }
    assert whole(aggregations=[other, AGGREGATION]) == whole()
    assert whole(aggregations=[AGGREGATION, other]) == whole()


def test_an_aggregation_that_shows_nothing_still_names_rights_and_provider() -> None:
    found = shown(edmIsShownBy=None, edmIsShownAt=None, hasView=None)
    assert (found.record_rights, found.data_provider, found.landing_url) == (IN_COPYRIGHT, "The museum", None)


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_web_resources_are_matched_by_address_in_any_order(order: tuple[int, ...]) -> None:
    resources = AGGREGATION["webResources"]
    assert shown(webResources=[resources[index] for index in order]) == whole()


def test_a_page_that_stands_first_is_no_image() -> None:
    found = shown(webResources=[PAGE_RESOURCE, IMAGE_RESOURCE])
    assert (found.image_url, found.media[0].mime, found.media[0].width_px) == (IMAGE, "image/jpeg", 795)
    assert PAGE not in found.image_urls


def test_an_image_without_a_web_resource_is_known_by_its_address_alone() -> None:
    for resources in ([], None, [PAGE_RESOURCE], [{"about": "happy_url", "ebucoreWidth": 3}]):
        found = shown(webResources=resources, hasView=[])
        assert found.media == (MediaFile(IMAGE, IN_COPYRIGHT, "permission"),)


def test_the_rights_of_a_file_count_before_those_of_the_record() -> None:
    found = whole()
    assert [file.rights for file in found.media] == [BY, IN_COPYRIGHT]
    assert (found.rights, found.rights_category, found.record_rights) == (BY, "open", IN_COPYRIGHT)
    stricter = shown(
        edmRights={"def": [CC0]}, webResources=[IMAGE_RESOURCE | {"webResourceEdmRights": {"def": [IN_COPYRIGHT]}}]
    )
    assert (stricter.rights, stricter.rights_category, stricter.record_rights) == (IN_COPYRIGHT, "permission", CC0)
    assert [(file.rights, file.rights_category) for file in stricter.media] == [(IN_COPYRIGHT, "permission"), (CC0, "open")]


def test_without_an_image_the_rights_of_the_record_stand() -> None:
    found = shown(edmIsShownBy=None, hasView=None)
    assert (found.image_url, found.image_urls, found.media) == (None, (), ())
    assert (found.rights, found.rights_category, found.landing_url) == (IN_COPYRIGHT, "permission", PAGE)


def test_further_views_stand_in_when_the_main_image_is_missing() -> None:
    found = shown(edmIsShownBy=None)
    assert (found.image_url, found.image_urls, found.rights) == (VERSO, (VERSO,), IN_COPYRIGHT)


def test_a_view_that_repeats_the_image_is_named_once() -> None:
    assert shown(hasView=[IMAGE, VERSO, IMAGE, f" {VERSO} "]) == whole()


def test_many_views_keep_their_order() -> None:
    views = [f"https://img.example.org/{number}.jpg" for number in range(18)]
    resources = [{"about": address, "ebucoreWidth": 100 + number} for number, address in enumerate(views)]
    found = shown(hasView=views, webResources=[*reversed(resources), IMAGE_RESOURCE])
    assert found.image_urls == (IMAGE, *views) and len(found.media) == 19
    assert [file.width_px for file in found.media] == [795, *range(100, 118)]


@pytest.mark.parametrize(
    "service",
    [
        ["https://iiif.example.org/a"],
        "https://iiif.example.org/a",
        [" https://iiif.example.org/a "],
        ["https://iiif.example.org/a", "https://iiif.example.org/other"],
        [{"about": "https://iiif.example.org/a", "id": {"timestamp": 1512119859, "counter": 4472184}}],
        {"about": "https://iiif.example.org/a"},
    ],
    ids=["list", "text", "blanks", "two", "object in a list", "object"],
)
def test_a_service_is_read_as_a_text_and_as_an_object(service: Any) -> None:
    assert shown(webResources=[VERSO_RESOURCE, IMAGE_RESOURCE | {"svcsHasService": service}]) == whole()


@pytest.mark.parametrize("service", [None, "", [], [""], {}, [{}], [{"about": None}], [{"about": {"id": 1}}], 5, [5], [None]])
def test_what_names_no_service_is_none(service: Any) -> None:
    assert shown(webResources=[IMAGE_RESOURCE | {"svcsHasService": service}]).media[0].iiif_service is None


def sizes(width: Any, height: Any, size: Any) -> tuple[int | None, int | None, int | None]:
    resource = {"about": IMAGE, "ebucoreWidth": width, "ebucoreHeight": height, "ebucoreFileByteSize": size}
    file = shown(webResources=[resource]).media[0]
    return file.width_px, file.height_px, file.size_bytes


def test_sizes_are_read_as_numbers_and_as_texts() -> None:
    assert sizes(795, 1000, 157858) == sizes("795", " 1000 ", "157858") == (795, 1000, 157858)


@pytest.mark.parametrize("unknown", [0, "0", "", None, -1, "-1", "large", True, 1.5, [], {}])
def test_a_size_of_zero_or_of_no_sense_is_unknown(unknown: Any) -> None:
    assert sizes(unknown, unknown, unknown) == (None, None, None)


def test_a_file_without_technical_fields_is_unknown_not_zero() -> None:
    file = shown(webResources=[{"about": IMAGE}]).media[0]
    assert (file.mime, file.width_px, file.height_px, file.size_bytes, file.iiif_service) == (None,) * 5


def preview(address: Any) -> str | None:
    return whole(europeanaAggregation={"edmPreview": address}).thumbnail_url


@pytest.mark.parametrize(
    ("address", "stored"),
    [
        ("https://api.europeana.eu/thumbnail/v2/url.json?uri=https%3A%2F%2Fx.org%2Fa.jpg&type=IMAGE", "https://x.org/a.jpg"),
        ("https://api.europeana.eu/thumbnail/v2/url.json?size=w400&type=IMAGE&uri=http%3A%2F%2Fx.org%2Fa", "http://x.org/a"),
        ("http://europeanastatic.eu/api/image?uri=http%3A%2F%2Fx.org%2Fa%3Fb%3D1%26c%3D2&size=LARGE", "http://x.org/a?b=1&c=2"),
        (
            "https://api.europeana.eu/api/v2/thumbnail-by-url.json?uri=http%3A%2F%2Fx.org%2Fa%2520b.jpg",
            "http://x.org/a%20b.jpg",
        ),
        (
            "https://api.europeana.eu/thumbnail/v2/url.json?uri=http%3A%2F%2Fx.org%2Fa%234301743&type=IMAGE",
            "http://x.org/a#4301743",
        ),
        ("https://api.europeana.eu/thumbnail/v2/url.json?uri=http%3A%2F%2Fx.org%2F%C3%A4.jpg", "http://x.org/ä.jpg"),
        (["https://api.europeana.eu/thumbnail/v2/url.json?uri=http%3A%2F%2Fx.org%2Fa.jpg"], "http://x.org/a.jpg"),
        ("https://x.org/plain.jpg", "https://x.org/plain.jpg"),
    ],
    ids=["v2", "uri last", "legacy", "encoded twice", "fragment", "umlaut", "in a list", "no uri"],
)
def test_a_thumbnail_is_the_address_inside_the_preview(address: Any, stored: str) -> None:
    assert preview(address) == stored


def test_without_a_preview_the_object_image_is_the_thumbnail() -> None:
    assert whole(europeanaAggregation={}).thumbnail_url == SMALL
    assert preview("") == preview(None) == SMALL


def test_country_language_and_dataset_of_an_older_object_stand_elsewhere() -> None:
    found = whole(country=None, language=None, edmDatasetName=None)
    assert (found.country, found.languages, found.dataset_name) == ("netherlands", ("nl",), "an older name")


def test_labels_of_concepts_are_joined_and_named_once() -> None:
    twice = [*OBJECT["concepts"], OBJECT["concepts"][0], {"prefLabel": {"fr": ["peinture"]}}, {"about": " "}]
    found = whole(concepts=twice)
    assert found.concept_uris == whole().concept_uris
    assert found.concept_labels == {"en": ["Painting", "paintings"], "fr": ["peinture"], "nl": ["Schilderij"]}


def test_a_bare_text_counts_as_a_text_without_a_language() -> None:
    found = whole(proxies=[PROVIDER_PROXY | {"dcTitle": "Night watch", "dcCreator": ["Rembrandt"]}])
    assert (found.titles, found.creators) == ({"def": ["Night watch"]}, ("Rembrandt",))


KEYED = [
    "http://www.europeana.eu/api/SECRETKEY/redirect?shownAt=http%3A%2F%2Fx.org",
    "https://api.europeana.eu/api/SECRETKEY/redirect?shownAt=http%3A%2F%2Fx.org",
    "https://www.europeana.eu/item/2021650/abc?utm_source=api&utm_medium=api&utm_campaign=SECRETKEY",
    "https://api.europeana.eu/record/2021650/abc.json?wskey=SECRETKEY",
    "https://x.org/a.jpg?a=1&APIKEY=SECRETKEY&b=2",
    "https://x.org/a.jpg;apikey=SECRETKEY",
    "https://x.org/a.jpg#wskey=SECRETKEY",
    "https://x.org/go?next=https%3A%2F%2Fy.org%3Fwskey%3DSECRETKEY%26b%3D1",
]


@pytest.mark.parametrize("address", KEYED)
def test_no_address_of_an_object_keeps_a_key(address: str) -> None:
    resource = {"about": address, "svcsHasService": [address], "webResourceEdmRights": {"def": [BY]}}
    aggregation = {"edmIsShownBy": address, "edmIsShownAt": address, "edmObject": address, "hasView": [address]}
    for ours in ({}, {"edmPreview": address}, {"edmPreview": f"https://api.europeana.eu/thumbnail/v2/url.json?uri={address}"}):
        found = whole(aggregations=[AGGREGATION | aggregation | {"webResources": [resource]}], europeanaAggregation=ours)
        assert "SECRETKEY" not in repr(found)
        assert found.image_url and found.landing_url and found.thumbnail_url
        assert found.media[0].rights == BY  # the web resource is still found by its address
    item = parse_item({"id": "/1/a", "edmIsShownBy": [address], "edmIsShownAt": [address], "edmPreview": [address]})
    assert isinstance(item, Record) and "SECRETKEY" not in repr(item)


def test_an_address_without_a_key_is_stored_unchanged() -> None:
    address = "http://x.org/a.jpg?id=1&key=T3st1&campaign=2&monkey=3#4301743"
    found = shown(edmIsShownBy=address, edmIsShownAt=address)
    assert (found.image_url, found.landing_url) == (address, address)


@pytest.mark.parametrize("value", [None, 1, "text", [], {}, {"about": None}, {"about": 7}, {"about": "/a/b c"}, {"id": "/1/a"}])
def test_without_an_id_there_is_no_record(value: Any) -> None:
    row = only_row([parse_object(value)])
    assert (row.outcome, row.reason) == (Outcome.REJECTED, Reason.MISSING_FIELD)
    assert row.raw is not None and json.loads(row.raw) == value


@pytest.mark.parametrize(
    "changes",
    [
        {"title": 5},
        {"title": {"en": "x"}},
        {"year": 1642},
        {"language": True},
        {"edmDatasetName": {}},
        {"timestamp_update": "yesterday"},
        {"proxies": [PROVIDER_PROXY | {"dcTitle": 5}]},
        {"proxies": [PROVIDER_PROXY | {"dcCreator": {"en": [{"about": "x"}]}}]},
        {"aggregations": [AGGREGATION | {"edmIsShownBy": {"about": "x"}}]},
        {"aggregations": [AGGREGATION | {"hasView": 7}]},
        {"aggregations": [AGGREGATION | {"edmRights": 1.5}]},
        {"concepts": [{"about": ["x"], "prefLabel": {"en": 3}}]},
    ],
)
def test_an_object_with_odd_types_becomes_an_outcome_row_under_its_id(changes: dict[str, Any]) -> None:
    row = only_row([parse_object(OBJECT | changes)])
    assert (row.outcome, row.reason) == (Outcome.REJECTED, Reason.UNPARSEABLE)
    assert (row.input_id, row.record_id) == ("/2021650/abc", "/2021650/abc")
    assert row.raw is not None and json.loads(row.raw) == OBJECT | changes


@pytest.mark.parametrize("name", ["aggregations", "proxies", "concepts", "organizations", "europeanaAggregation"])
@pytest.mark.parametrize("odd", [5, "text", [5, "x", None, []], True])
def test_a_part_that_is_no_part_is_passed_over(name: str, odd: Any) -> None:
    assert isinstance(parse_object(OBJECT | {name: odd}), Record)


# --- Records of WITH ---

WITH_RECORD: dict[str, Any] = {
    "dbId": "5f1a2b3c",
    "administrative": {"externalId": "/9200579/abc", "withURI": "/record/5f1a2b3c", "access": {"isPublic": True}},
    "resourceType": "CulturalObject",
    "provenance": [
        {"provider": "The museum", "uri": "https://museum.example.org/a"},
        {"provider": "The aggregator"},
        {"provider": "Europeana", "uri": "https://www.europeana.eu/item/9200579/abc", "resourceId": "/9200579/abc"},
    ],
    "descriptiveData": {
        "label": {"default": ["Cap"], "en": ["Cap"], "nl": ["Pet"]},
        "description": {"en": ["A cap of wool"]},
        "keywords": {"en": ["headgear"], "uri": ["http://vocab.getty.edu/aat/300266639"]},
        "isShownAt": "https://museum.example.org/a",
        "isShownBy": "https://img.example.org/a.jpg",
        "dates": [{"free": "the fifties"}, {"year": 1955, "free": "1955"}],
        "dccreator": {"default": ["Maker"], "en": ["Maker", "Shop"]},
        "dctype": {"en": ["clothing"]},
        "country": {"default": ["Greece"]},
    },
    "media": [
        {
            "Thumbnail": {
                "url": "https://api.europeana.eu/thumbnail/v2/url.json?uri=https%3A%2F%2Fimg.example.org%2Fsmall.jpg&type=IMAGE",
                "withUrl": "/media/byUrl?url=x&version=Thumbnail",
            },
            "Original": {
                "url": "https://img.example.org/a.jpg",
                "type": "IMAGE",
                "mimeType": "image/jpeg",
                "width": 800,
                "height": 600,
                "withRights": "Creative_BY",
                "originalRights": {"uri": BY_SA},
            },
        }
    ],
    "annotationIds": ["1"],
}


def of_with(**changes: Any) -> Record:
    found = parse_with_record(WITH_RECORD | changes)
    assert isinstance(found, Record), found
    return found


def original(**changes: Any) -> Record:
    medium = WITH_RECORD["media"][0]
    return of_with(media=[medium | {"Original": medium["Original"] | changes}])


def test_a_whole_record_of_with_becomes_a_record_with_every_field() -> None:
    found = of_with()
    assert found.subjects["en"] == ["headgear"]
    assert replace(found, subjects={}, languages=()) == Record(
        record_id="/9200579/abc",
        dataset_id="9200579",
        title="Cap",
        titles={"default": ["Cap"], "en": ["Cap"], "nl": ["Pet"]},
        descriptions={"en": ["A cap of wool"]},
        creators=("Maker", "Shop"),
        creator_names={"default": ["Maker"], "en": ["Maker", "Shop"]},
        types={"en": ["clothing"]},
        year=1955,
        media_type="IMAGE",
        concept_uris=("http://vocab.getty.edu/aat/300266639",),
        provider="The aggregator",
        data_provider="The museum",
        country="Greece",
        rights=BY_SA,
        rights_category="open",
        record_rights=BY_SA,
        image_url="https://img.example.org/a.jpg",
        image_urls=("https://img.example.org/a.jpg",),
        media=(MediaFile("https://img.example.org/a.jpg", BY_SA, "open", "image/jpeg", 800, 600),),
        thumbnail_url="https://img.example.org/small.jpg",
        landing_url="https://museum.example.org/a",
    )


def test_an_id_of_with_alone_makes_a_record_with_nothing_in_it() -> None:
    assert parse_with_record({"dbId": "5f1a2b3c"}) == Record("/with/5f1a2b3c", "with", "")


def test_a_record_from_europeana_has_europeanas_id_from_its_provenance() -> None:
    assert of_with(administrative={}).record_id == "/9200579/abc"
    assert of_with(administrative={"externalId": "oai:museum:1"}).record_id == "/9200579/abc"
    assert of_with(dbId=None).record_id == "/9200579/abc"


@pytest.mark.parametrize("provenance", [None, [], [{"provider": "Europeana"}], [{"provider": "Europeana", "resourceId": 7}]])
def test_a_record_from_europeana_has_europeanas_id_from_its_external_id(provenance: Any) -> None:
    assert of_with(provenance=provenance).record_id == "/9200579/abc"


@pytest.mark.parametrize("external", [None, "", "oai:museum:1", "abc", "/only", "/a/b c", 7, ["/a/b"]])
def test_a_record_from_elsewhere_has_the_id_of_with(external: Any) -> None:
    elsewhere = [{"provider": "The museum"}, {"provider": "Rijksmuseum", "resourceId": "/9200579/abc"}]
    assert of_with(provenance=elsewhere, administrative={"externalId": external}).record_id == "/with/5f1a2b3c"
    assert of_with(provenance=None, administrative=None).record_id == "/with/5f1a2b3c"


@pytest.mark.parametrize("value", [None, 1, "text", [], {}, {"dbId": ""}, {"dbId": 7}, {"dbId": None}, {"dbId": "a/b"}])
def test_without_any_id_there_is_no_record_of_with(value: Any) -> None:
    row = only_row([parse_with_record(value)])
    assert (row.outcome, row.reason) == (Outcome.REJECTED, Reason.MISSING_FIELD)
    assert row.raw is not None and json.loads(row.raw) == value


def test_the_original_statement_of_rights_counts_before_the_name() -> None:
    assert original(withRights="InC").rights == BY_SA
    assert original(withRights=None).rights == BY_SA


@pytest.mark.parametrize("statement", [None, {}, {"uri": None}, {"uri": ""}, {"uri": []}, "Creative Commons", []])
@pytest.mark.parametrize(
    ("name", "path", "category"),
    [
        ("Public", "publicdomain/mark/", "open"),
        ("PublicCC0", "publicdomain/zero/", "open"),
        ("Creative_BY", "licenses/by/", "open"),
        ("Creative_BY_SA", "licenses/by-sa/", "open"),
        ("Creative_BY_ND", "licenses/by-nd/", "restricted"),
        ("Creative_BY_NC", "licenses/by-nc/", "restricted"),
        ("Creative_BY_NC_SA", "licenses/by-nc-sa/", "restricted"),
        ("Creative_BY_NC_ND", "licenses/by-nc-nd/", "restricted"),
        ("InC", "vocab/InC/", "permission"),
        ("InC_EDU", "vocab/InC-EDU/", "restricted"),
        ("NoC_NC", "vocab/NoC-NC/", "restricted"),
        ("CNE", "vocab/CNE/", "permission"),
    ],
)
def test_without_the_original_statement_the_name_tells_the_rights(name: str, path: str, category: str, statement: Any) -> None:
    found = original(withRights=name, originalRights=statement)
    host = "http://rightsstatements.org/" if path.startswith("vocab") else "http://creativecommons.org/"
    assert found.rights.startswith(host + path) and found.rights_category == category
    assert (found.media[0].rights, found.record_rights) == (found.rights, found.rights)


@pytest.mark.parametrize("name", ["RR", "UNKNOWN", "UND", "", None, "public", 5])
def test_rights_that_nobody_knows_are_unknown(name: Any) -> None:
    found = original(withRights=name, originalRights=None)
    assert (found.rights, found.rights_category) == ("", "unknown")


def test_several_media_keep_their_order_and_their_own_rights() -> None:
    media = [
        {"Original": {"url": "https://x.org/a.tif", "withRights": "InC", "mimeType": "image/tiff", "width": 10, "height": 20}},
        {"Thumbnail": {"url": "https://x.org/small.jpg"}},
        {"Original": {"url": " https://x.org/b.jpg ", "originalRights": {"uri": CC0}}},
    ]
    found = of_with(media=media)
    assert found.media == (
        MediaFile("https://x.org/a.tif", IN_COPYRIGHT, "permission", "image/tiff", 10, 20),
        MediaFile("https://x.org/b.jpg", CC0, "open"),
    )
    assert (found.image_url, found.image_urls) == ("https://x.org/a.tif", ("https://x.org/a.tif", "https://x.org/b.jpg"))
    assert (found.rights, found.rights_category, found.thumbnail_url) == (IN_COPYRIGHT, "permission", "https://x.org/small.jpg")


@pytest.mark.parametrize(
    "media", [None, [], [{}], [None, 5, "x"], [{"Original": None}], [{"Original": {"url": " "}}], [{"Original": {}}]]
)
def test_a_record_of_with_may_have_no_image(media: Any) -> None:
    found = of_with(media=media)
    assert (found.image_url, found.image_urls, found.media, found.thumbnail_url) == (None, (), (), None)
    assert (found.rights, found.rights_category) == ("", "unknown")


@pytest.mark.parametrize("unknown", [0, None, -1, True, 1.5])
def test_a_side_of_zero_is_unknown_in_with(unknown: Any) -> None:
    assert (original(width=unknown).media[0].width_px, original(height=unknown).media[0].height_px) == (None, None)


def test_the_title_to_show_is_the_default_one() -> None:
    described = WITH_RECORD["descriptiveData"]
    assert of_with(descriptiveData=described | {"label": {"de": ["Mütze"], "default": ["Cap"]}}).title == "Cap"
    assert of_with(descriptiveData=described | {"label": {"de": ["Mütze"]}}).title == "Mütze"
    assert of_with(descriptiveData=described | {"label": {}}).title == ""


@pytest.mark.parametrize(
    ("dates", "year"),
    [
        ([{"year": 1955}], 1955),
        ([{"year": "1955"}], 1955),
        ([{"free": "x"}, {"year": None}, {"year": 1956}], 1956),
        ([{"year": "c. 1955"}, {"year": 1957}], 1957),
        ([5, "1955", None], None),
        ([], None),
        (None, None),
    ],
)
def test_the_first_date_with_a_year_tells_it(dates: Any, year: int | None) -> None:
    assert of_with(descriptiveData=WITH_RECORD["descriptiveData"] | {"dates": dates}).year == year


def test_without_an_aggregator_the_first_holder_is_the_data_provider() -> None:
    provenance = WITH_RECORD["provenance"]
    found = of_with(provenance=[provenance[0], provenance[2]])
    assert (found.data_provider, found.provider) == ("The museum", "")


@pytest.mark.parametrize("address", KEYED)
def test_no_address_of_a_record_of_with_keeps_a_key(address: str) -> None:
    media = [{"Original": {"url": address}, "Thumbnail": {"url": address, "withUrl": f"/media/byUrl?url={address}"}}]
    found = of_with(media=media, descriptiveData={"isShownAt": address, "isShownBy": address})
    assert found.image_url and found.thumbnail_url and found.landing_url
    assert "SECRETKEY" not in repr(found)


@pytest.mark.parametrize(
    "changes",
    [
        {"media": 5},
        {"provenance": 5},
        {"provenance": [{"provider": {"name": "x"}}, {"provider": "Europeana", "resourceId": "/9200579/abc"}]},
        {"descriptiveData": {"label": {"en": 5}}},
        {"descriptiveData": {"dates": 5}},
        {"descriptiveData": {"isShownAt": {"url": "x"}}},
        {"descriptiveData": {"keywords": {"uri": [["x"]]}}},
        {"media": [{"Original": {"url": "https://x.org/a", "mimeType": {"a": 1}}}]},
    ],
)
def test_a_record_of_with_with_odd_types_becomes_an_outcome_row_under_its_id(changes: dict[str, Any]) -> None:
    row = only_row([parse_with_record(WITH_RECORD | changes)])
    assert (row.outcome, row.reason, row.record_id) == (Outcome.REJECTED, Reason.UNPARSEABLE, "/9200579/abc")
    assert row.raw is not None and json.loads(row.raw) == WITH_RECORD | changes


@pytest.mark.parametrize("odd", [5, "text", [], None, True])
@pytest.mark.parametrize("name", ["administrative", "descriptiveData"])
def test_a_part_of_with_that_is_no_part_is_passed_over(name: str, odd: Any) -> None:
    assert isinstance(parse_with_record(WITH_RECORD | {name: odd}), Record)


# --- Whatever comes ---

Place = tuple[Any, ...]


def _places(value: Any, path: Place = ()) -> Iterator[Place]:
    """Every place in a value, the whole included."""
    yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        yield from _places(part, (*path, name))


def _put(value: Any, path: Place, new: Any) -> Any:
    """A copy of a value with something else at a place."""
    if not path:
        return new
    copied = value.copy()
    copied[path[0]] = _put(value[path[0]], path[1:], new)
    return copied


def _names(value: Any) -> set[str]:
    return {name for path in _places(value) for name in path if isinstance(name, str)}


OBJECT_NAMES = sorted(_names(OBJECT) | {"changeLog", "provider", "lineage", "edmPreviewNoDistribute", "type", "context"})
WITH_NAMES = sorted(_names(WITH_RECORD) | {"mediaVersion", "created", "lastModified", "collectedIn"})
_TEXTS = ["/1/a", "https://x.org/a.jpg", "IMAGE", "Delete", "Europeana", "2025-05-04T21:01:05Z", "2025", "0", "²", " ", "-1"]
_NUMBERS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False)
_LEAVES = _NUMBERS | st.text(max_size=12) | st.sampled_from(_TEXTS)


def _json(names: list[str]) -> st.SearchStrategy[Any]:
    """Any JSON, under names that parsers look for."""
    keys = st.sampled_from(names) | st.sampled_from(["en", "def"]) | st.text(max_size=4)
    return st.recursive(
        _LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=6), max_leaves=20
    )


def _check(found: Record | OutcomeRow, record_id: str | None = None) -> None:
    if isinstance(found, OutcomeRow):
        assert found.stage == "harvest" and found.detail and len(found.detail) <= DETAIL_LENGTH
        assert found.raw is None or json.dumps(json.loads(found.raw))
        return
    assert isinstance(found, Record)
    assert record_id is None or found.record_id == record_id
    assert found.dataset_id == found.record_id.split("/")[1]
    assert found.image_url == (found.image_urls[0] if found.image_urls else None)
    assert tuple(dict.fromkeys(file.url for file in found.media)) == found.image_urls
    assert all(number is None or number > 0 for file in found.media for number in (file.width_px, file.height_px))
    assert found.updated_at is None or found.updated_at.utcoffset() == timedelta(0)


@given(_json(OBJECT_NAMES))
def test_any_json_as_an_object_is_a_record_or_an_outcome_row(value: Any) -> None:
    _check(parse_object(value))


@given(st.dictionaries(st.sampled_from(OBJECT_NAMES), _json(OBJECT_NAMES), max_size=8))
def test_any_values_under_the_names_of_an_object_are_a_record_or_an_outcome_row(value: dict[str, Any]) -> None:
    _check(parse_object(value | {"about": "/1/a"}), "/1/a")


@given(st.sampled_from(list(_places(OBJECT))), _json(OBJECT_NAMES))
def test_any_json_at_any_place_of_an_object_is_a_record_or_an_outcome_row(path: Place, value: Any) -> None:
    _check(parse_object(_put(OBJECT, path, value)))


@given(_json(WITH_NAMES))
def test_any_json_as_a_record_of_with_is_a_record_or_an_outcome_row(value: Any) -> None:
    _check(parse_with_record(value))


@given(st.dictionaries(st.sampled_from(WITH_NAMES), _json(WITH_NAMES), max_size=8))
def test_any_values_under_the_names_of_with_are_a_record_or_an_outcome_row(value: dict[str, Any]) -> None:
    _check(parse_with_record(value | {"dbId": "1"}))


@given(st.sampled_from(list(_places(WITH_RECORD))), _json(WITH_NAMES))
def test_any_json_at_any_place_of_a_record_of_with_is_a_record_or_an_outcome_row(path: Place, value: Any) -> None:
    _check(parse_with_record(_put(WITH_RECORD, path, value)))


ENVELOPE = {"object", "items", "itemsCount", "facets", "params", "success", "error", "code", "@context", "id"}
REPLY_NAMES = sorted({*OBJECT_NAMES, *ENVELOPE})


@given(_json(REPLY_NAMES) | st.dictionaries(st.sampled_from(REPLY_NAMES), _json(REPLY_NAMES), max_size=6))
def test_a_file_with_any_json_is_records_and_outcome_rows(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    for found in parsed(tmp_path_factory.getbasetemp(), value):
        _check(found)


# Left alone are maps, whose names are languages, and plain texts that are kept or said again word for word.
LANGUAGE_MAPS = frozenset(
    {"dcTitle", "dcCreator", "dcDescription", "dcSubject", "dcType", "year", "prefLabel", "edmRights", "webResourceEdmRights"}
    | {"edmDataProvider", "edmProvider", "edmCountry", "edmLanguage"}
    | {"label", "description", "keywords", "dccreator", "dctype", "country"}
)
KEY_FIELDS = {
    "apikey": "SECRETKEY",
    "wskey": "SECRETKEY",
    "apiKey": ["SECRETKEY"],
    "guid": "https://www.europeana.eu/item/1/a?utm_source=api&utm_medium=api&utm_campaign=SECRETKEY",
    "link": ["https://api.europeana.eu/record/1/a.json?wskey=SECRETKEY", {"self": "SECRETKEY"}],
}
ADDRESSES = frozenset(
    {"edmIsShownBy", "edmIsShownAt", "edmObject", "edmPreview", "hasView", "svcsHasService", "isShownAt", "isShownBy", "url"}
    | {"withUrl", "edmLandingPage"}
)


def _keyed(value: Any, name: str = "") -> Any:
    """The value with keys in every object and in every address, as replies have them."""
    if name in LANGUAGE_MAPS:
        return value
    if isinstance(value, dict):
        return {inner: _keyed(part, inner) for inner, part in value.items()} | KEY_FIELDS
    if isinstance(value, list):
        return [_keyed(part, name) for part in value]
    if isinstance(value, str) and name in ADDRESSES:
        return f"{value}?a=1&wskey=SECRETKEY&b=2"
    return value


def _keeps_no_key(found: Record | OutcomeRow) -> None:
    assert "SECRETKEY" not in repr(found)
    assert not isinstance(found, OutcomeRow) or "SECRETKEY" not in (found.raw or "")


def test_keys_are_put_everywhere_before_they_are_looked_for() -> None:
    assert json.dumps(_keyed(OBJECT)).count("SECRETKEY") > 30
    assert json.dumps(_keyed(WITH_RECORD)).count("SECRETKEY") > 20


@pytest.mark.parametrize(
    ("parse", "value"),
    [(parse_object, OBJECT), (parse_with_record, WITH_RECORD), (parse_object, tombstone("/1/a"))],
    ids=["object", "with", "tombstone"],
)
def test_no_key_gets_through_anywhere_in_a_whole_record(parse: Callable[[Any], Record | OutcomeRow], value: Any) -> None:
    _keeps_no_key(parse(_keyed(value)))
    for lost in ("about", "dbId", "administrative", "provenance"):
        _keeps_no_key(parse({name: part for name, part in _keyed(value).items() if name != lost}))


@given(st.sampled_from(list(_places(OBJECT))), _json(OBJECT_NAMES))
def test_no_key_gets_through_from_any_place_of_an_object(path: Place, value: Any) -> None:
    _keeps_no_key(parse_object(_keyed(_put(OBJECT, path, value))))


@given(st.dictionaries(st.sampled_from(OBJECT_NAMES), _json(OBJECT_NAMES), max_size=8), st.sampled_from(["/1/a", None]))
def test_no_key_gets_through_from_any_object(value: dict[str, Any], record_id: str | None) -> None:
    _keeps_no_key(parse_object(_keyed(value) | {"about": record_id}))


@given(st.sampled_from(list(_places(WITH_RECORD))), _json(WITH_NAMES))
def test_no_key_gets_through_from_any_place_of_a_record_of_with(path: Place, value: Any) -> None:
    _keeps_no_key(parse_with_record(_keyed(_put(WITH_RECORD, path, value))))


@given(_json(REPLY_NAMES) | st.dictionaries(st.sampled_from(REPLY_NAMES), _json(REPLY_NAMES), max_size=6))
def test_no_key_gets_through_from_a_file_with_any_json(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    for found in parsed(tmp_path_factory.getbasetemp(), _keyed(value)):
        _keeps_no_key(found)


def test_a_tombstone_that_still_looks_like_a_record_is_gone_all_the_same() -> None:
    """As the ingestion makes them: with aggregations and proxies beside the change log."""
    value = {
        "about": "/1/a",
        "europeanaAggregation": {"changeLog": [{"type": "Create"}, {"type": "Delete"}]},
        "aggregations": [{"edmIsShownBy": "http://x.org/a.jpg"}],
    }
    row = parse_object(value)
    assert isinstance(row, OutcomeRow) and (row.outcome, row.record_id) == (Outcome.GONE, "/1/a")
    restored = value | {"europeanaAggregation": {"changeLog": [{"type": "Delete"}, {"type": "Create"}]}}
    assert isinstance(parse_object(restored), Record)


@pytest.mark.parametrize(
    "item",
    [
        {"id": "/1/a", "type": {"apikey": "SECRETKEY"}},
        {"id": "/1/a", "timestamp_update": "https://x.org?wskey=SECRETKEY"},
        {"id": 5, "wskey": "SECRETKEY", "params": {"wskey": "SECRETKEY"}},
        {"id": "/1/a", "title": 5, "edmIsShownAt": ["https://x.org/p?u=a%253Fwskey%253DSECRETKEY"]},
        {"success": False, "message": "GET https://api.europeana.eu/?wskey=SECRETKEY&query=x failed"},
    ],
)
def test_no_key_stands_in_a_row_s_detail_or_in_what_is_kept_of_the_reply(tmp_path: Path, item: dict[str, Any]) -> None:
    path = tmp_path / "reply.json"
    path.write_text(json.dumps(item))
    (row,) = parse_file(path)
    assert isinstance(row, OutcomeRow) and "SECRETKEY" not in repr(row)


def test_a_description_that_stands_in_for_a_title_is_shown_and_not_kept_as_one() -> None:
    found = parse_item({"id": "/1/a", "title": ["long text"], "dcDescription": ["long text"]})
    assert isinstance(found, Record)
    assert (found.title, found.titles, found.descriptions) == ("long text", {}, {"def": ["long text"]})


def test_a_file_of_more_than_two_gigabytes_keeps_its_size() -> None:
    resource = {"about": "http://x.org/a.tif", "ebucoreFileByteSize": 3_000_000_000, "ebucoreWidth": "²"}
    found = parse_object(
        {"about": "/1/a", "aggregations": [{"edmIsShownBy": "http://x.org/a.tif", "webResources": [resource]}]}
    )
    assert isinstance(found, Record)
    assert (found.media[0].size_bytes, found.media[0].width_px) == (3_000_000_000, None)


def test_an_id_of_another_source_is_not_taken_for_one_of_europeana() -> None:
    other = {"dbId": "5f", "administrative": {"externalId": "/objects/123"}, "provenance": [{"provider": "Rijksmuseum"}]}
    found = parse_with_record(other)
    assert found.record_id == "/with/5f"


def test_half_characters_reach_no_result() -> None:
    half = "http://x.org/\ud800.jpg"
    for found in (
        parse_item({"id": "/1/a", "edmIsShownBy": [half], "edmPreview": [half]}),
        parse_item({"id": "/1/\ud800"}),
        parse_object(
            {
                "about": "/1/a",
                "aggregations": [{"edmIsShownBy": half, "webResources": [{"about": half, "svcsHasService": half}]}],
            }
        ),
        parse_with_record({"dbId": "5f", "media": [{"Original": {"url": half}, "Thumbnail": {"url": half}}]}),
    ):
        repr(found.__dict__).encode()
