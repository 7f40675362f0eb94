"""What the documents promise is there: commands, settings, recipes and rooms are written down where people look."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.harvest.sources import load_sources
from pipeline.settings import Settings
from pipeline.training.recipes import load_recipe

ROOT = Path(__file__).parents[2]


def _tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True).stdout.split()
    if not listed:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed]


def test_every_name_in_the_example_environment_is_a_setting_or_the_platforms():
    names = {line.partition("=")[0] for line in (ROOT / ".env.example").read_text().splitlines() if "=" in line}
    compose = (ROOT / "docker-compose.yml").read_text()
    unknown = {name for name in names if name.lower() not in Settings.model_fields and name not in compose}
    assert unknown == set()


def test_the_example_environment_holds_no_values():
    filled = [line for line in (ROOT / ".env.example").read_text().splitlines() if re.match(r"\w+=.+", line)]
    assert filled == []


def test_every_make_target_explains_itself():
    makefile = (ROOT / "Makefile").read_text()
    declared = re.search(r"\.PHONY: (.*)", makefile).group(1).split()
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {name for name in declared if f"make {name} " not in shown} == set()
    assert {"setup", "run", "test", "lint", "up", "bench", "clean"} <= set(declared)


@pytest.mark.parametrize(
    "command",
    [
        *([], ["run"], ["train"], ["start"], ["harvest"], ["stage"], ["explain"], ["web"], ["up"], ["sandbox", "serve"]),
        ["relabel"],
        *(["source", name] for name in ("new", "check", "windows", "parse")),
        *(["dataset", name] for name in ("build", "noise")),
        *(["feedback", name] for name in ("import", "withdraw", "thresholds", "apply", "sample")),
        *([name] for name in ("publish", "withdraw", "forget", "reconcile")),
        *(["model", name] for name in ("list", "show", "evaluate", "release", "rollback", "bench-engines")),
    ],
)
def test_every_command_has_help_with_an_example(command):
    done = subprocess.run([sys.executable, "-m", "pipeline", *command, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert not command or "Example" in done.stdout


def test_sources_and_recipes_that_ship_can_be_read():
    settings = Settings()
    assert "default" in load_sources(settings.sources_dir)
    for path in settings.recipes_dir.glob("*.yaml"):
        assert load_recipe(settings.recipes_dir, path.stem).seed


def test_no_module_is_called_utils_or_helpers():
    assert [path for path in _tracked("*.py") if re.fullmatch(r"(utils?|helpers?|misc|common)\.py", path.name)] == []


def test_only_the_settings_read_the_environment():
    readers = [
        path.relative_to(ROOT).as_posix()
        for path in _tracked("pipeline/*.py")
        if re.search(r"os\.environ(\.get|\[)|os\.getenv", path.read_text())
    ]
    assert set(readers) <= {"pipeline/settings.py", "pipeline/cli/local_run.py"}  # the latter hands it on to what it starts


def test_the_lock_file_holds_versions_and_hashes_and_no_address():
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    assert lock.count("--hash=sha256:") > 500
    assert all("==" in line for line in lock.splitlines() if line and not line.startswith((" ", "#")))


def test_links_in_the_documents_lead_somewhere():
    for path in _tracked("*.md"):
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_a_setting_that_does_not_fit_is_named_without_its_value():
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "source", "list"],
        env={"PATH": "", "TARGET_PRECISION": "7654321"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "TARGET_PRECISION" in done.stderr and "less than 1" in done.stderr
    assert "7654321" not in done.stderr and "Traceback" not in done.stderr
