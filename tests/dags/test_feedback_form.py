"""What the form of `import_feedback` turns into."""

import json
from datetime import UTC, datetime

import pytest

from orchestration import params
from pipeline.errors import CriticalError
from pipeline.feedback.by_form import import_from_form, propose_thresholds, wish_of_form
from pipeline.settings import Settings

NOW = datetime(2026, 1, 2, tzinfo=UTC)
FORM = {name: param.value for name, param in params.FEEDBACK.items()}


@pytest.fixture
def settings(tmp_path):
    return Settings(_env_file=None, var_dir=tmp_path / "var")


@pytest.fixture
def export(tmp_path):
    tags = [{"body": "coin", "target": "/9/a", "review": {"upvotes": 1, "downvotes": 0}}, {"body": "map", "target": "/9/a"}]
    path = tmp_path / "campaign.json"
    path.write_text(json.dumps({"@graph": tags}))
    return path


def test_the_forms_own_values_are_those_of_the_command():
    wish = wish_of_form(FORM | {"file": " /x.json "})
    assert (str(wish.path), wish.kind, wish.accept, wish.campaign, wish.meanings, wish.least) == (
        "/x.json",
        "crowdheritage",
        "majority",
        "",
        None,
        1,
    )


def test_an_export_is_imported_once_and_a_dry_run_leaves_nothing(settings, export):
    form = FORM | {"file": str(export), "dry_run": True}
    dry = import_from_form(form=form, now=NOW, settings=settings)
    assert dry["run_key"] == "" and dry["figures"]["annotations"] == 2
    assert not settings.var_dir.exists()
    first, again = (import_from_form(form=form | {"dry_run": False}, now=NOW, settings=settings) for _ in range(2))
    assert first == again and first["figures"] == dry["figures"] and first["run_key"].startswith("runs/run=feedback-")


def test_a_form_without_a_file_and_votes_without_a_model_are_told(settings, export):
    with pytest.raises(CriticalError, match="file: say which export"):
        import_from_form(form=FORM, now=NOW, settings=settings)
    import_from_form(form=FORM | {"file": str(export)}, now=NOW, settings=settings)
    with pytest.raises(CriticalError, match="no released version of model 'default'"):
        propose_thresholds(run_id="manual__1", settings=settings)
