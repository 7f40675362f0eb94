"""Pictures out of the lake again: one by its id, a run's as a folder that the pipeline itself can read."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli.images import images as commands
from pipeline.errors import PermanentError
from pipeline.images.export import export_run, get_picture
from pipeline.settings import Settings
from tests.integration.pictures import ImageHost, do_images, image_host, record, rows_of, settings_of, stored, write_run


@pytest.fixture
def host() -> Iterator[ImageHost]:
    with image_host("127.0.0.1") as server:
        yield server


@pytest.fixture
def settings(host: ImageHost, tmp_path: Path) -> Settings:
    return settings_of(tmp_path / "var", host.names, images_per_shard=4)


def enriched(host: ImageHost, settings: Settings, count: int = 10) -> str:
    key = write_run(settings, [record(f"/1/r{number:02d}", host.draw(f"/{number}", number)) for number in range(count)])
    do_images(settings, key)
    return key


def test_a_picture_is_found_by_its_image_id_and_by_its_record_id(host: ImageHost, settings: Settings) -> None:
    key = enriched(host, settings)
    row = rows_of(settings, key)[7]
    for identity in (row["image_id"], row["record_id"]):
        assert get_picture(identity, original=False, settings=settings) == stored(settings, row)


def test_an_unknown_id_and_an_original_that_is_not_kept_are_told_in_one_message(host: ImageHost, settings: Settings) -> None:
    enriched(host, settings, 1)
    with pytest.raises(PermanentError, match="/9/nobody: no picture"):
        get_picture("/9/nobody", original=False, settings=settings)
    with pytest.raises(PermanentError, match="KEEP_ORIGINALS"):
        get_picture("/1/r00", original=True, settings=settings)


def test_an_export_is_a_collection_folder_with_every_picture(host: ImageHost, settings: Settings, tmp_path: Path) -> None:
    key = enriched(host, settings)
    assert export_run(key, tmp_path / "out", most=None, settings=settings) == 10
    for row in rows_of(settings, key):
        assert (tmp_path / "out" / f"{row['record_id'].strip('/').replace('/', '_')}.jpg").read_bytes() == stored(settings, row)
    lines = (tmp_path / "out" / "metadata.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 11 and lines[0].startswith("record_id,image_file,title")
    assert lines[1].startswith("/1/r00,1_r00.jpg,")


def test_an_export_goes_on_without_writing_what_is_there_and_has_a_limit(
    host: ImageHost, settings: Settings, tmp_path: Path
) -> None:
    key, folder = enriched(host, settings), tmp_path / "out"
    assert export_run(key, folder, most=3, settings=settings) == 3
    written = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.jpg")}
    assert len(written) == 3
    assert export_run(key, folder, most=None, settings=settings) == 10
    assert {name: (folder / name).stat().st_mtime_ns for name in written} == written
    assert len(list(folder.glob("*.jpg"))) == 10


def test_a_folder_with_a_metadata_csv_of_its_own_is_left_alone(host: ImageHost, settings: Settings, tmp_path: Path) -> None:
    key = enriched(host, settings, 1)
    (tmp_path / "metadata.csv").write_text("mine")
    with pytest.raises(PermanentError, match=r"metadata\.csv is there already"):
        export_run(key, tmp_path, most=None, settings=settings)
    assert (tmp_path / "metadata.csv").read_text() == "mine"


def test_the_commands_have_help_with_an_example() -> None:
    for name in ("check", "get", "export", "recheck", "links"):
        said = CliRunner().invoke(commands, [name, "--help"]).output
        assert "Example" in said, name
