"""104 awkward files: what becomes of each is decided here, from what the file is, and held to through the command.

`EXPECTED.csv` beside the files notes what each is. What people can look at is accepted, upright and in the right colours;
what is damaged or dangerous is rejected with its reason; nothing crashes, hangs or eats memory.
"""

import io
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.domain.identifiers import image_id
from pipeline.domain.outcome import Outcome, Reason
from pipeline.imaging.derivative import decode_derivative
from pipeline.imaging.examine import Examined, Examiner, rules_of
from pipeline.settings import Settings

ROOT = Path(__file__).parents[2]
HOSTILE = ROOT.parent / "shared" / "hostile"
PLACEHOLDERS = "placeholder"
OK = None
KEYS = {
    *("path", "outcome", "reason", "detail", "warnings", "mime", "width_px", "height_px"),
    *("seconds", "peak_mb", "sha256", "duplicate_of"),
}

pytestmark = pytest.mark.skipif(not HOSTILE.is_dir(), reason="no ../shared/hostile beside the project")

EXPECTED: dict[str, Reason | None] = {
    # Cut off: the pixels, or for a PNG the chunks after them, end before the file says that they do.
    "truncated_corrupt/pillow__truncated_jpeg.jpg": Reason.TRUNCATED,
    "truncated_corrupt/pillow__truncated_image.png": Reason.TRUNCATED,
    "truncated_corrupt/pillow__truncated_end_chunk.png": Reason.TRUNCATED,
    "truncated_corrupt/image__tests_bad_bmp_Bad_shortfile.bmp": Reason.TRUNCATED,
    # Only metadata is cut short, and every pixel is there: somebody who opens it sees the whole picture.
    "truncated_corrupt/pillow__truncated_app14.jpg": OK,
    # The same, but the whole picture is plain white.
    "truncated_corrupt/pillow__truncated_exif_dpi.jpg": Reason.NEAR_BLANK,
    # Nonsense where the picture should be, or where the file says how it is packed.
    "truncated_corrupt/pillow__broken.png": Reason.CORRUPT,
    "truncated_corrupt/pillow__broken_data_stream.png": Reason.CORRUPT,
    "truncated_corrupt/pillow__unknown_compression_method.png": Reason.CORRUPT,
    # More data after the last pixel takes nothing away from the picture.
    "truncated_corrupt/pillow__hopper_idat_after_image_end.png": OK,
    # Whole, or nearly so, but there are too few pixels to see anything (10 and 1 px high).
    "truncated_corrupt/pillow__padded_idat.png": Reason.TOO_SMALL,
    "truncated_corrupt/pillow__tRNS_null_1x1.png": Reason.TOO_SMALL,
    # A small file that unpacks to a huge text: a bomb, whatever the picture is.
    "truncated_corrupt/pillow__png_decompression_dos.png": Reason.BOMB,
    # 2,147,483,647 px wide by its own word: nobody allocates that to find out.
    "truncated_corrupt/image__tests_bad_bmp_Bad_width.bmp": Reason.BOMB,
    # A bomb is one inside an icon, too.
    "bomb_or_bad_size/pillow__decompression_bomb.ico": Reason.BOMB,
    # Directories and headers of nonsense: sizes that are no sizes, 65,535 samples a pixel, places beyond any file. What
    # they claim of width and height is below 100 megapixels, so it is not the size that is wrong with them.
    "bomb_or_bad_size/pillow__oom-225817ca0f8c663be7ab4b9e717b02c661e66834.tif": Reason.CORRUPT,
    "bomb_or_bad_size/pillow__seek_too_large.tif": Reason.CORRUPT,
    "bomb_or_bad_size/pillow__libtiff_segfault.tif": Reason.CORRUPT,
    "bomb_or_bad_size/pillow__negative_size.ppm": Reason.CORRUPT,
    "bomb_or_bad_size/pillow__zero_width.gif": Reason.CORRUPT,
    # Crashers: TIFFs with damage in their pixels; libtiff says so, even where it draws on (fax code words that do not exist).
    "fuzz_crasher/pillow__crash-0c7e0e8e11ce787078f00b5b0ca409a167f070e0.tif": Reason.CORRUPT,
    "fuzz_crasher/pillow__crash-0da013a13571cc8eb457a39fee8db18f8a3c7127.tif": Reason.CORRUPT,
    "fuzz_crasher/pillow__crash-338516dbd2f0e83caddb8ce256c22db3bd6dc40f.tif": Reason.CORRUPT,
    "fuzz_crasher/pillow__crash-74d2a78403a5a59db1fb0a2b8735ac068a75f6e3.tif": Reason.CORRUPT,
    # One pixel, in a header without any data behind it.
    "fuzz_crasher/pillow__ossfuzz-4836216264589312.pcx": Reason.TOO_SMALL,
    # FLI animations whose header claims 16,910 bytes; 188 and 8,731 are there.
    "fuzz_crasher/pillow__fli_overrun.bin": Reason.TRUNCATED,
    "fuzz_crasher/pillow__crash-5762152299364352.fli": Reason.TRUNCATED,
    # Odd modes are pictures: grey, 16 bits, Lab, CMYK, one bit, palette, alpha, planes, tiles, several pages, BigTIFF.
    "odd_mode/pillow__hopper_gray.jpg": OK,
    "odd_mode/pillow__16bit.cropped.tif": OK,
    "odd_mode/pillow__tiff_16bit_RGB.tiff": OK,
    "odd_mode/pillow__tiff_16bit_RGBa.tiff": OK,
    "odd_mode/pillow__hopper.Lab.tif": OK,
    "odd_mode/pillow__la.tga": OK,
    "odd_mode/pillow__hopper_1bit.pbm": OK,
    "odd_mode/pillow__hopper_float_dpi_None.tif": OK,
    "odd_mode/pillow__g4-multi.tiff": OK,  # a page with a few words: not blank
    "odd_mode/pillow__tiff_tiled_cmyk_jpeg.tif": OK,
    "odd_mode/pillow__tiff_strip_planar_lzw.tiff": OK,
    "odd_mode/pillow__hopper_bigtiff.tif": OK,
    "odd_mode/pillow__transparent.png": OK,
    "odd_mode/pillow__pil123p.png": OK,
    "odd_mode/pillow__i_trns.png": OK,
    "odd_mode/pillow__icc_profile_big.jpg": OK,  # half a megabyte of profile, and a picture
    "odd_mode/pillow__hopper-XYZ.png": OK,
    # … as long as there is something to see: 10 × 10, 2 × 1, 10 × 10 px.
    "odd_mode/pillow__multipage.tiff": Reason.TOO_SMALL,
    "odd_mode/pillow__rgba16.tga": Reason.TOO_SMALL,
    "odd_mode/pillow__icc-after-SOF.jpg": Reason.TOO_SMALL,
    # Odd formats are pictures, too, when their decoder is here; an animation or a pair is its first picture.
    "odd_format/pillow__iss634.webp": OK,
    "odd_format/pillow__chi.gif": OK,
    "odd_format/pillow__hopper.webp": OK,
    "odd_format/pillow__flower2.webp": OK,
    "odd_format/pillow__avif_hopper.avif": OK,
    "odd_format/pillow__sugarshack.mpo": OK,
    "odd_format/pillow__sugarshack_bad_mpo_header.jpg": OK,  # the list of further pictures is broken, not the first one
    "odd_format/pillow__hopper.psd": OK,
    "odd_format/image__tests_images_jpg_progressive_cat.jpg": OK,
    "odd_format/image__tests_images_png_16bpc_basn2c16.png": OK,  # 32 × 32 px: just large enough
    "odd_format/ljt__testimages_testimgari.jpg": OK,
    "odd_format/ljt__testimages_testimgint.jpg": OK,
    "odd_format/ljt__testimages_monkey16.pgm": OK,
    "odd_format/image__tests_images_gif_anim_oob.gif": OK,  # a frame that sticks out of its screen; the rest is there
    "odd_format/pillow__bmp_b_badfilesize.bmp": OK,  # the header miscounts the file; all its pixels are there
    # 10 and 16 px.
    "odd_format/pillow__duplicate_frame.gif": Reason.TOO_SMALL,
    "odd_format/image__tests_images_gif_simple_issue_1455_oversized.gif": Reason.TOO_SMALL,
    # Real pictures that cannot be decoded here: HEVC, 12 bits a sample, PostScript, Windows drawing commands.
    "odd_format/pillow__avif_hopper.heif": Reason.UNSUPPORTED_FORMAT,
    "odd_format/ljt__testimages_monkey12.jpg": Reason.UNSUPPORTED_FORMAT,
    "odd_format/pillow__eps_zero_bb.eps": Reason.UNSUPPORTED_FORMAT,
    "odd_format/pillow__drawing.wmf": Reason.UNSUPPORTED_FORMAT,
    # An archive is no picture, though there is one in it.
    "odd_format/pillow__hopper.tar": Reason.NOT_AN_IMAGE,
    # 7 kB of a 2717 × 3701 px JPEG 2000: the code stream stops in its header.
    "odd_format/pillow__balloon_eciRGBv2_aware.jp2": Reason.TRUNCATED,
    # A negative width, read as the 4,294,967,169 px that it says.
    "odd_format/pillow__bmp_b_badwidth.bmp": Reason.BOMB,
    # Runs that leave the picture.
    "odd_format/pillow__bmp_b_badrle.bmp": Reason.CORRUPT,
    # Broken metadata is no reason to lose a picture.
    "metadata/pillow__invalid-exif-without-x-resolution.jpg": OK,
    "metadata/pillow__exif_typeerror.jpg": OK,
    "metadata/pillow__exif-dpi-zerodivision.jpg": OK,
    "metadata/pillow__junk_jpeg_header.jpg": OK,
    "metadata/pillow__xmp_tags_orientation.png": OK,
    "metadata/pillow__hopper_orientation_6.webp": OK,
    "metadata/pillow__g4_orientation_6.tif": OK,
    "metadata/pillow__app13-multiple.jpg": OK,
    "metadata/pillow__zero_dpi.jp2": OK,
    "metadata/exif-samples__jpg_invalid_image01713.jpg": OK,
    "metadata/exif-samples__jpg_invalid_image02206.jpg": OK,
    "metadata/exif-samples__jpg_gps_DSCN0010.jpg": OK,
    # 1,214 stray bytes within the scan: besides its metadata its pixels are damaged.
    "metadata/pillow__hopper_bad_exif.jpg": Reason.CORRUPT,
    # 1 × 1 and 10 × 10 px.
    "metadata/pillow__multiple_exif.jpg": Reason.TOO_SMALL,
    "metadata/pillow__empty_gps_ifd.jpg": Reason.TOO_SMALL,
    # Photographs in every position that a camera can be held.
    "exif_orientation/exiforient__Landscape_1.jpg": OK,
    "exif_orientation/exiforient__Landscape_6.jpg": OK,
    "exif_orientation/exiforient__Portrait_4.jpg": OK,
    "exif_orientation/exiforient__Portrait_5.jpg": OK,
    "exif_orientation/exiforient__Portrait_7.jpg": OK,
    # "Consult primary record" is a picture, until somebody says that it is one to remove.
    "placeholder/met__MET_543913.jpg": OK,
    "placeholder/met__MET_544192.jpg": OK,
    "placeholder/met__MET_544768.jpg": OK,
    # Equal pictures of several records: each is one, and told to be a duplicate.
    "duplicate/1__MET_544128.jpg": OK,
    "duplicate/1__MET_544129.jpg": OK,
    "duplicate/1__MET_544130.jpg": OK,
    "duplicate/1__MET_544131.jpg": OK,
    "duplicate/2__CLE_94195.jpg": OK,
    "duplicate/2__CLE_94196.jpg": OK,
    "duplicate/2__CLE_94197.jpg": OK,
    "duplicate/3__CLE_101360.jpg": OK,
    "duplicate/3__CLE_101361.jpg": OK,
}
NAMES = sorted(EXPECTED)
LISTS = {"EXPECTED.csv", "README.md", "SOURCES.csv"}  # what the folder says of its pictures


def _files() -> set[str]:
    return {path.relative_to(HOSTILE).as_posix() for path in HOSTILE.rglob("*") if path.is_file()}


def _checked(*arguments: str | Path) -> list[dict[str, Any]]:
    """What the command prints, a line a file."""
    command = [sys.executable, "-m", "pipeline", "images", "check", *map(str, arguments), "--jsonl"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def _by_name(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {Path(row["path"]).relative_to(HOSTILE).as_posix(): row for row in rows}


@pytest.fixture(scope="module")
def examined() -> dict[str, tuple[Examined, float]]:
    """The verdict on every file, and how many seconds it took."""
    found: dict[str, tuple[Examined, float]] = {}
    with Examiner(rules_of(Settings(_env_file=None))) as examiner:
        for name in NAMES:
            content = (HOSTILE / name).read_bytes()
            started = time.monotonic()
            verdict = examiner.examine(content)
            found[name] = (verdict, time.monotonic() - started)
    return found


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The placeholder as other hosts might send it."""
    folder = tmp_path_factory.mktemp("copies")
    with Image.open(HOSTILE / PLACEHOLDERS / "met__MET_543913.jpg") as image:
        picture = image.convert("RGB")
    half, double = ((picture.width // 2, picture.height // 2), (picture.width * 2, picture.height * 2))
    picture.save(folder / "again.jpg", quality=40)
    picture.save(folder / "lossless.png")
    for name, size in (("half", half), ("double", double)):
        picture.resize(size, Image.Resampling.LANCZOS).save(folder / f"{name}.jpg", quality=75)
    picture.resize(half, Image.Resampling.BILINEAR).save(folder / "half.webp", quality=60)
    return folder


@pytest.fixture(scope="module")
def both_rows(copies: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The command's lines for the folder, and for the folder and the copies when the placeholders are to be removed."""
    removing = (HOSTILE, copies, "--images-to-remove", HOSTILE / PLACEHOLDERS)
    with ThreadPoolExecutor(2) as threads:
        plain, with_removal = (threads.submit(_checked, *arguments) for arguments in ((HOSTILE,), removing))
        return plain.result(), with_removal.result()


@pytest.fixture
def rows(both_rows: tuple[list[dict[str, Any]], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return both_rows[0]


@pytest.fixture
def rows_with_removal(both_rows: tuple[list[dict[str, Any]], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return both_rows[1]


def _derivative(examined: dict[str, tuple[Examined, float]], name: str) -> Image.Image:
    jpeg = examined[name][0].jpeg
    assert jpeg is not None, name
    return decode_derivative(jpeg)


def _difference(one: Image.Image, other: Image.Image) -> float:
    """Mean difference in grey levels, of a channel."""
    return float(np.abs(np.asarray(one, dtype=int) - np.asarray(other, dtype=int)).mean())


# --- The table ---


def test_every_file_of_the_folder_has_its_outcome_in_the_table_and_no_other_is_named() -> None:
    assert _files() - LISTS == set(EXPECTED)
    assert len(EXPECTED) == 104


@pytest.mark.parametrize("name", NAMES)
def test_a_file_gets_exactly_its_verdict(name: str, examined: dict[str, tuple[Examined, float]]) -> None:
    verdict, _ = examined[name]
    reason = EXPECTED[name]
    assert (verdict.outcome, verdict.reason) == (Outcome.REJECTED if reason else Outcome.OK, reason), verdict.detail


def test_a_picture_comes_with_everything_that_is_kept_of_it_and_a_rejected_file_with_none_of_it(
    examined: dict[str, tuple[Examined, float]],
) -> None:
    for name, (verdict, _) in examined.items():
        kept = (verdict.jpeg, verdict.perceptual_hash, verdict.sketch)
        assert all(kept) if EXPECTED[name] is OK else not any(kept), name
        if EXPECTED[name] is OK:
            assert verdict.mime and verdict.width_px and verdict.height_px, name
            assert max(_derivative(examined, name).size) <= 400, name
        else:
            assert verdict.detail, name


def test_no_file_takes_long_or_eats_memory(examined: dict[str, tuple[Examined, float]]) -> None:
    slow = {name: seconds for name, (_, seconds) in examined.items() if seconds > 10}
    large = {name: verdict.peak_mb for name, (verdict, _) in examined.items() if verdict.peak_mb >= 500}
    assert (slow, large) == ({}, {})


# --- The command ---


def test_the_command_prints_one_line_for_each_file_with_exactly_its_keys(rows: list[dict[str, Any]]) -> None:
    assert sorted(_by_name(rows)) == sorted(_files()) and len(rows) == len(_files())
    assert {frozenset(row) for row in rows} == {frozenset(KEYS)}


def test_the_command_reaches_the_same_verdicts(rows: list[dict[str, Any]]) -> None:
    expected = EXPECTED | dict.fromkeys(LISTS, Reason.NOT_AN_IMAGE)
    verdicts = {name: (row["outcome"], row["reason"]) for name, row in _by_name(rows).items()}
    assert verdicts == {name: ("rejected" if reason else "ok", reason and str(reason)) for name, reason in expected.items()}


def test_the_commands_facts_are_those_of_the_file(
    rows: list[dict[str, Any]], examined: dict[str, tuple[Examined, float]]
) -> None:
    for name, row in _by_name(rows).items():
        assert row["sha256"] == image_id((HOSTILE / name).read_bytes())
        assert row["seconds"] < 10 and 0 < row["peak_mb"] < 500, name
        assert isinstance(row["warnings"], list)
        if name in examined:
            verdict, _ = examined[name]
            said = (row["mime"], row["width_px"], row["height_px"], row["detail"])
            assert said == (verdict.mime, verdict.width_px, verdict.height_px, verdict.detail), name


def test_duplicates_are_pictures_and_name_the_first_of_their_set(rows: list[dict[str, Any]]) -> None:
    first_of: dict[str, str] = {}
    for row in rows:
        first = first_of.setdefault(row["sha256"], row["path"])
        assert row["duplicate_of"] == (None if row["path"] == first else first)
    sets = {name.split("__")[0]: row for name, row in _by_name(rows).items() if row["duplicate_of"]}
    assert set(sets) == {"duplicate/1", "duplicate/2", "duplicate/3", "placeholder/met"}
    assert {row["outcome"] for row in sets.values()} == {"ok"}


# --- Pictures to remove ---


def test_the_pictures_of_the_folder_to_remove_are_found_and_no_other_file_is_taken_for_one(
    rows: list[dict[str, Any]], rows_with_removal: list[dict[str, Any]], copies: Path
) -> None:
    inside = [row for row in rows_with_removal if not Path(row["path"]).is_relative_to(copies)]
    before, now = _by_name(rows), _by_name(inside)
    changed = {name for name in before if now[name]["reason"] != before[name]["reason"]}
    assert changed == {name for name in before if name.startswith(f"{PLACEHOLDERS}/")}
    assert {(now[name]["outcome"], now[name]["reason"]) for name in changed} == {("rejected", "placeholder")}
    assert all("images to remove" in now[name]["detail"] for name in changed)


@pytest.mark.parametrize("name", ["again.jpg", "lossless.png", "half.jpg", "double.jpg", "half.webp"])
def test_a_placeholder_is_found_re_encoded_and_resized(
    name: str, rows_with_removal: list[dict[str, Any]], copies: Path
) -> None:
    row = next(row for row in rows_with_removal if Path(row["path"]) == copies / name)
    assert (row["outcome"], row["reason"]) == ("rejected", "placeholder"), row["detail"]


# --- Upright, in the right colours ---


def test_a_photograph_comes_out_upright_however_the_camera_was_held(examined: dict[str, tuple[Examined, float]]) -> None:
    landscapes = [_derivative(examined, f"exif_orientation/exiforient__Landscape_{number}.jpg") for number in (1, 6)]
    portraits = [_derivative(examined, f"exif_orientation/exiforient__Portrait_{number}.jpg") for number in (4, 5, 7)]
    assert [picture.size for picture in landscapes] == [(400, 267)] * 2
    assert [picture.size for picture in portraits] == [(267, 400)] * 3
    # A number in the middle tells them apart; all else is the same. Turned or mirrored they differ by far more.
    for one, other in ((landscapes[0], landscapes[1]), (portraits[0], portraits[1]), (portraits[0], portraits[2])):
        assert _difference(one, other) < 3
        for turn in (Image.Transpose.ROTATE_180, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM):
            assert _difference(one.transpose(turn), other) > 15


def test_orientation_is_heeded_in_other_formats_too(examined: dict[str, tuple[Examined, float]]) -> None:
    upright = _derivative(examined, "odd_format/pillow__hopper.psd")
    assert _difference(_derivative(examined, "metadata/pillow__hopper_orientation_6.webp"), upright) < 8
    page = _derivative(examined, "metadata/pillow__g4_orientation_6.tif")
    assert page.width > 4 * page.height  # one line of text


@pytest.mark.parametrize(
    "name",
    [
        "odd_format/pillow__hopper.webp",
        "odd_format/pillow__avif_hopper.avif",
        "odd_mode/pillow__hopper.Lab.tif",
        "odd_mode/pillow__hopper_bigtiff.tif",
        "odd_mode/pillow__hopper_float_dpi_None.tif",
        "truncated_corrupt/pillow__hopper_idat_after_image_end.png",
    ],
)
def test_one_portrait_has_the_same_colours_in_every_format(name: str, examined: dict[str, tuple[Examined, float]]) -> None:
    assert _difference(_derivative(examined, name), _derivative(examined, "odd_format/pillow__hopper.psd")) < 8


@pytest.mark.parametrize("name", ["odd_mode/pillow__tiff_tiled_cmyk_jpeg.tif", "truncated_corrupt/pillow__truncated_app14.jpg"])
def test_printing_inks_become_their_colours_and_not_the_opposite(
    name: str, examined: dict[str, tuple[Examined, float]]
) -> None:
    pixels = np.asarray(_derivative(examined, name), dtype=int)
    red, green, blue = pixels[2, 2]  # a red corner, black at the other end
    assert red > 180 and green < 90 and blue < 90
    assert pixels[-3, -3].max() < 60


def test_what_can_be_seen_through_lies_on_white(examined: dict[str, tuple[Examined, float]]) -> None:
    for name in ("odd_mode/pillow__transparent.png", "odd_mode/pillow__pil123p.png"):
        assert np.asarray(_derivative(examined, name), dtype=int)[1, 1].min() > 245, name


def test_derivatives_say_nothing_of_the_place_where_a_photograph_was_taken(
    examined: dict[str, tuple[Examined, float]],
) -> None:
    jpeg = examined["metadata/exif-samples__jpg_gps_DSCN0010.jpg"][0].jpeg
    assert jpeg is not None
    with Image.open(io.BytesIO(jpeg)) as image:
        assert not image.getexif() and "exif" not in image.info and b"GPS" not in jpeg
