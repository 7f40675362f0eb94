"""The pages: home with a grid of pictures, one record, one run's report. They work without JavaScript."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader

from pipeline.web.api import PortalDep, RecordIdDep
from pipeline.web.catalogue import NotFoundError
from pipeline.web.links import link, record_link, web_address

PAGE_SIZE = 24
RUNS_SHOWN = 10
RELATED_SHOWN = 12
router = APIRouter(include_in_schema=False)

_templates = Environment(loader=PackageLoader("pipeline.web"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
_templates.filters["thousands"] = lambda number: f"{number:,}"
_templates.filters["web_address"] = web_address


def render(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """A template as a page; in it `link` and `record_link` make links within the app."""
    page = _templates.get_template(template).render(
        **values,
        link=lambda name, **parts: link(request, name, **parts),
        record_link=lambda name, record_id: record_link(request, name, record_id),
    )
    return HTMLResponse(page, status)


@router.get("/", response_class=HTMLResponse)
def home(request: Request, portal: PortalDep, page: Annotated[int, Query(ge=1)] = 1, run: str | None = None) -> HTMLResponse:
    """The newest run's figures and its pictures; `run` chooses another one."""
    catalogue = portal.catalogue
    shown = catalogue.run(run) if run else catalogue.newest()
    if shown is None:
        return render(request, "empty.html")
    count = catalogue.record_count(shown)
    pages = max(1, -(-count // PAGE_SIZE))
    if page > pages:
        raise NotFoundError(f"there are {pages} pages, not {page}")
    rows = catalogue.page(shown, (page - 1) * PAGE_SIZE, PAGE_SIZE, ("record_id", "title", "data_provider"))
    return render(
        request,
        "home.html",
        run=shown,
        summary=json.loads(catalogue.export(shown, "run_report.json"))["summary"],
        rows=rows,
        pictures=catalogue.pictures(shown, [row["record_id"] for row in rows]),
        page=page,
        pages=pages,
        query=f"run={shown.run_id}&" if run else "",
        runs=catalogue.runs()[:RUNS_SHOWN],
    )


@router.get("/records/{dataset}/{local}", response_class=HTMLResponse)
def record_page(request: Request, record_id: RecordIdDep, portal: PortalDep) -> HTMLResponse:
    """A record: its picture, what was harvested, what was recognised, what is related."""
    run = portal.catalogue.holder(record_id)
    row = portal.catalogue.record(run, record_id)
    related, model = portal.related(run, record_id, RELATED_SHOWN)
    return render(
        request,
        "record.html",
        run=run,
        record=row,
        facts=_facts(row),
        descriptions=[(language, text) for language, texts in row["descriptions"] for text in texts],
        picture=portal.catalogue.pictures(run, [record_id]).get(record_id),
        labels=portal.labels(run, record_id, portal.decisions),
        related=related,
        model=model,
    )


@router.get("/runs/{run_id}", response_class=HTMLResponse)
def run_page(run_id: str, portal: PortalDep) -> Response:
    """The run's report as it was written when the run ended."""
    return HTMLResponse(portal.catalogue.export(portal.catalogue.run(run_id), "run_report.html"))


def _facts(row: dict[str, Any]) -> list[tuple[str, str]]:
    """What is known about the record, empty fields left out."""
    facts = [
        ("Record", row["record_id"]),
        ("Other titles", "; ".join(_other_titles(row))),
        ("By", "; ".join(row["creators"])),
        ("Year", "" if row["year"] is None else str(row["year"])),
        ("Provider", row["provider"]),
        ("Institution", row["data_provider"]),
        ("Country", row["country"]),
        ("Languages", ", ".join(row["languages"])),
    ]
    return [(name, text) for name, text in facts if text]


def _other_titles(row: dict[str, Any]) -> list[str]:
    return sorted({title for _, titles in row["titles"] for title in titles} - {row["title"]})
