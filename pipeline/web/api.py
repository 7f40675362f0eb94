"""The portal API, `/v1/…`. Links in answers are paths on the same host."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response

from pipeline.datasets.run import Run
from pipeline.domain.label import Decision
from pipeline.domain.scope import scope_to_json
from pipeline.web.catalogue import Picture
from pipeline.web.links import link, record_link
from pipeline.web.portal import Label, Portal, Related

PICTURE_MAX_AGE_S = 3600
router = APIRouter(prefix="/v1")


def portal_of(request: Request) -> Portal:
    """The app's portal."""
    portal: Portal = request.app.state.portal
    return portal


def record_id_of(dataset: str, local: str) -> str:
    """The record that the path names."""
    return f"/{dataset}/{local}"


PortalDep = Annotated[Portal, Depends(portal_of)]
RecordIdDep = Annotated[str, Depends(record_id_of)]


@router.get("/openapi.json", include_in_schema=False)
def openapi(request: Request) -> dict[str, Any]:
    """The description of this API."""
    description: dict[str, Any] = request.app.openapi()
    return description


@router.get("/runs")
def runs(request: Request, portal: PortalDep, limit: Annotated[int, Query(ge=1, le=500)] = 50) -> dict[str, Any]:
    """The finished runs, newest first."""
    found = portal.catalogue.runs()
    return {"total": len(found), "runs": [_run(request, run) for run in found[:limit]]}


@router.get("/runs/{run_id}")
def run_report(run_id: str, portal: PortalDep) -> Response:
    """The run's report: counts of every stage, figures, versions."""
    run = portal.catalogue.run(run_id)
    return Response(portal.catalogue.export(run, "run_report.json"), media_type="application/json")


@router.get("/records/{dataset}/{local}")
def record(request: Request, record_id: RecordIdDep, portal: PortalDep) -> dict[str, Any]:
    """What was harvested about a record, its picture, and how many labels of each decision it has."""
    run = portal.catalogue.holder(record_id)
    row = portal.catalogue.record(run, record_id)
    labels = portal.labels(run, record_id, portal.decisions)
    picture = portal.catalogue.pictures(run, [record_id]).get(record_id)
    return {
        **{name: value for name, value in row.items() if name not in ("run_id", "created_at")},
        "titles": dict(row["titles"]),
        "descriptions": dict(row["descriptions"]),
        "image": _picture(request, record_id, picture),
        "labels": {decision: sum(label.decision == decision for label in labels) for decision in portal.decisions},
        "run": _run(request, run),
        "links": {name: record_link(request, f"api_{name}", record_id) for name in ("labels", "related")}
        | {"page": record_link(request, "record_page", record_id)},
    }


@router.get("/records/{dataset}/{local}/labels", name="api_labels")
def record_labels(record_id: RecordIdDep, portal: PortalDep, decision: Decision | None = None) -> dict[str, Any]:
    """The record's labels, surest first. Hidden and dropped ones are for internal use."""
    if decision and not (portal.internal or decision in portal.decisions):
        raise HTTPException(403, f"labels with the decision {decision} are kept for internal use")
    run = portal.catalogue.holder(record_id)
    labels = portal.labels(run, record_id, [decision] if decision else portal.decisions)
    return {"record_id": record_id, "run_id": run.run_id, "labels": [_label(label) for label in labels]}


@router.get("/records/{dataset}/{local}/related", name="api_related")
def related(
    request: Request, record_id: RecordIdDep, portal: PortalDep, limit: Annotated[int, Query(ge=1, le=50)] = 10
) -> dict[str, Any]:
    """Related records, best first, with the reasons, and the model that they come from."""
    run = portal.catalogue.holder(record_id)
    found, model = portal.related(run, record_id, limit)
    return {
        "record_id": record_id,
        "run_id": run.run_id,
        "model": model,
        "suggestions": [_related(request, entry) for entry in found],
    }


@router.get("/records/{dataset}/{local}/image", name="api_image", response_class=Response)
def image(request: Request, record_id: RecordIdDep, portal: PortalDep) -> Response:
    """The record's picture as a small JPEG. The ETag is the identity of the original."""
    catalogue = portal.catalogue
    picture = catalogue.pictures(catalogue.holder(record_id), [record_id]).get(record_id)
    if picture is None:
        raise HTTPException(404, f"the record {record_id} has no usable picture")
    # Behind a login, no shared cache may keep it.
    visibility = "private" if request.app.state.guarded else "public"
    headers = {"ETag": f'"{picture.image_id}"', "Cache-Control": f"{visibility}, max-age={PICTURE_MAX_AGE_S}"}
    if _is_known(request.headers.get("if-none-match", ""), picture.image_id):
        return Response(status_code=304, headers=headers)
    return Response(catalogue.picture_bytes(picture), media_type="image/jpeg", headers=headers)


def _is_known(if_none_match: str, image_id: str) -> bool:
    tags = {tag.strip().removeprefix("W/").strip('"') for tag in if_none_match.split(",")}
    return bool(tags & {image_id, "*"})


def _run(request: Request, run: Run) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "source": run.source,
        "created_at": run.created_at.isoformat(),
        "scope": scope_to_json(run.scope),
        "dry_run": run.dry_run,
        "report": link(request, "run_report", run_id=run.run_id),
    }


def _picture(request: Request, record_id: str, picture: Picture | None) -> dict[str, Any] | None:
    if picture is None:
        return None
    return {
        "image_id": picture.image_id,
        "width_px": picture.width_px,
        "height_px": picture.height_px,
        "thumbnail": record_link(request, "api_image", record_id),
    }


def _label(label: Label) -> dict[str, Any]:
    return {
        "label": label.slug,
        "name": label.name,
        "concept_uri": label.concept_uri,
        "score": label.score,
        "decision": label.decision,
        "why": label.why,
    }


def _related(request: Request, entry: Related) -> dict[str, Any]:
    return {
        "record_id": entry.record_id,
        "title": entry.title,
        "rank": entry.rank,
        "score": entry.score,
        "visual_similarity": entry.visual_similarity,
        "reasons": entry.reasons,
        "shared_concepts": [{"label": slug, "name": name} for slug, name in entry.shared],
        "thumbnail": record_link(request, "api_image", entry.record_id) if entry.picture else None,
        "record": record_link(request, "record", entry.record_id),
    }
