"""The bounded process behind the decoders: what crashes, hangs or eats memory there is a verdict here, and nothing else.

Also what decides where a file is decoded, the run-length codes of BMPs, and the attribution that goes with a picture.
"""

import io
import json
import os
import resource
import shlex
import signal
import struct
import sys
import textwrap
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.domain.outcome import Outcome, Reason
from pipeline.imaging.bmp_rle import rle_damage
from pipeline.imaging.derivative import Attribution, decode_derivative, normalised_jpeg, with_attribution
from pipeline.imaging.examine import Examined, Examiner, examine_here, is_ordinary_jpeg, rules_of
from pipeline.settings import Settings
from tests.unit.test_imaging import FILES, encoded, png_header, scene

RULES = rules_of(Settings(_env_file=None))
ODD = FILES["png"]  # anything but an ordinary JPEG goes to the bounded process


@pytest.fixture(scope="module")
def examiner() -> Iterator[Examiner]:
    with Examiner(RULES) as one:
        yield one


# --- Bounds on memory ---


def huge_png(side: int, channels: int) -> bytes:
    """A PNG of this side whose rows are all alike: made without ever holding its pixels."""
    colour_type = {1: 0, 3: 2, 4: 6}[channels]
    step = np.arange(side, dtype=np.uint32) // 200  # wide stripes: 2 MB in all
    bands = [5 * step, 3 * step, 255 - 4 * step, 128 + 2 * step][:channels]
    row = b"\0" + np.stack(bands, axis=1).astype(np.uint8).tobytes()
    pack = zlib.compressobj(9, wbits=-15)
    packed = pack.compress(row) + pack.flush(zlib.Z_FULL_FLUSH)  # stands for itself, wherever it is put
    end = zlib.compressobj(wbits=-15)
    checksum = 1
    for _ in range(side):
        checksum = zlib.adler32(row, checksum)
    data = b"\x78\x01" + packed * side + end.flush(zlib.Z_FINISH) + struct.pack(">I", checksum)

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", side, side, 8, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("channels", [3, 4], ids=["RGB", "RGBA"])
def test_a_picture_of_nearly_100_megapixels_is_decoded_in_bounded_memory(channels: int) -> None:
    content = huge_png(9_900, channels)
    with Examiner(replace(RULES, seconds=60)) as examiner:  # the time is not the matter here
        found = examiner.examine(content)
    assert (found.outcome, found.reason, found.detail) == (Outcome.OK, None, "")
    assert (found.width_px, found.height_px) == (9_900, 9_900)
    assert 100 < found.peak_mb < 500
    assert found.jpeg is not None and decode_derivative(found.jpeg).size == (400, 400)


def test_more_pixels_than_allowed_are_a_bomb_by_the_header_alone(examiner: Examiner) -> None:
    examiner.examine(ODD)  # the process is there
    started = time.monotonic()
    found = examiner.examine(png_header(10_001, 10_000))
    assert time.monotonic() - started < 2
    assert (found.outcome, found.reason) == (Outcome.REJECTED, Reason.BOMB)
    assert (found.width_px, found.height_px, found.mime) == (10_001, 10_000, "image/png")
    assert found.peak_mb < 150


def test_exactly_as_many_pixels_as_allowed_are_no_bomb(examiner: Examiner) -> None:
    assert examiner.examine(png_header(10_000, 10_000)).reason in (Reason.TRUNCATED, Reason.CORRUPT)  # it ends early


def test_a_progressive_jpeg_too_large_for_its_memory_is_a_bomb_and_not_damaged() -> None:
    across = np.linspace(0, 255, 4_000, dtype=np.uint8)
    picture = Image.fromarray(np.broadcast_to(across[None, :, None], (3_000, 4_000, 3)).copy())
    content = encoded(picture, "JPEG", progressive=True, subsampling=0, quality=50)
    assert not is_ordinary_jpeg(content)
    with Examiner(replace(RULES, memory_mb=48)) as small:  # all its coefficients take 72 MB
        found = small.examine(content)
        assert (found.outcome, found.reason) == (Outcome.REJECTED, Reason.BOMB), found.detail
        assert small.examine(ODD).outcome is Outcome.OK
    with Examiner(RULES) as enough:
        assert enough.examine(content).outcome is Outcome.OK


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "WEBP"])
def test_other_pictures_too_large_for_their_memory_are_bombs_too(kind: str) -> None:
    options = {"lossless": True, "method": 0} if kind == "WEBP" else {}
    across = np.linspace(0, 255, 4_000, dtype=np.uint8)
    picture = Image.fromarray(np.broadcast_to(across[None, :, None], (2_000, 4_000, 3)).copy())
    content = encoded(picture, kind, **options)
    with Examiner(replace(RULES, memory_mb=24)) as small:  # four bytes a pixel are 32 MB
        found = small.examine(content)
    assert (found.outcome, found.reason) == (Outcome.REJECTED, Reason.BOMB), found.detail


def test_a_file_that_is_large_for_its_memory_is_a_bomb_without_a_process() -> None:
    with Examiner(replace(RULES, memory_mb=8)) as examiner:
        found = examiner.examine(b"BM" + bytes(5_000_000))
        assert (found.outcome, found.reason) == (Outcome.REJECTED, Reason.BOMB)
        assert examiner._process is None


# --- Decoders that crash or hang ---


class StandIn:
    """A program in the place of the bounded process, that says on a file which process it is."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, body: str) -> None:
        self._process_file = folder / "process"
        program, script = folder / "program.py", folder / "stand-in"
        program.write_text(
            textwrap.dedent(
                f"""\
                import os, signal, struct, sys, time
                with open({str(self._process_file)!r}, "a") as told:
                    print(os.getpid(), file=told)
                incoming, outgoing = sys.stdin.buffer, sys.stdout.buffer

                def say(content):
                    outgoing.write(content)
                    outgoing.flush()

                def read_request():
                    _, size = struct.unpack(">II", incoming.read(8))
                    return incoming.read(size)

                """
            )
            + textwrap.dedent(body)
        )
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -SE {shlex.quote(str(program))} "$@"\n')
        script.chmod(0o755)
        patch.setattr(sys, "executable", str(script))

    def left_behind(self) -> list[int]:
        """Which of its processes are still there."""
        return [int(line) for line in self._process_file.read_text().split() if _lives(int(line))]


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


CRASHES = {
    "segmentation fault": "say(bytes(8)); read_request(); os.kill(os.getpid(), signal.SIGSEGV)",
    "abort": "say(bytes(8)); read_request(); os.kill(os.getpid(), signal.SIGABRT)",
    "killed for its memory": "say(bytes(8)); read_request(); os.kill(os.getpid(), signal.SIGKILL)",
    "exit": "say(bytes(8)); read_request(); os._exit(3)",
    "crash before the file is read": "say(bytes(8)); incoming.read(8); os.kill(os.getpid(), signal.SIGSEGV)",
    "crash in the middle of the answer": "say(bytes(8)); read_request(); say(struct.pack('>II', 400, 9) + b'{'); os.abort()",
    "end before the last byte": "say(bytes(8)); read_request(); say(struct.pack('>II', 2, 9) + b'{}' + bytes(8)); os._exit(0)",
}


@pytest.mark.parametrize("crash", sorted(CRASHES))
def test_a_decoder_that_crashes_makes_its_file_corrupt_and_harms_no_other(
    crash: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = ODD + bytes(300_000)  # more than a pipe holds
    with Examiner(RULES) as examiner:
        with monkeypatch.context() as patch:
            program = StandIn(tmp_path, patch, CRASHES[crash])
            found = examiner.examine(content)
        assert (found.outcome, found.reason) == (Outcome.REJECTED, Reason.CORRUPT)
        assert "crashed" in found.detail
        assert (found.jpeg, found.perceptual_hash, found.sketch) == (None, None, None)
        assert program.left_behind() == []
        assert examiner.examine(ODD).outcome is Outcome.OK


def test_a_process_that_is_gone_between_two_files_costs_neither_of_them() -> None:
    with Examiner(RULES) as examiner:
        before = examiner.examine(ODD)
        first = examiner._process
        assert first is not None
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert replace(examiner.examine(ODD), peak_mb=0) == replace(before, peak_mb=0)
        assert examiner._process is not None and examiner._process.pid != first.pid


def test_a_process_that_is_killed_for_others_sake_says_nothing_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = shlex.quote(sys.executable)
    script, flag = tmp_path / "stand-in", shlex.quote(str(tmp_path / "killed"))
    script.write_text(f'#!/bin/sh\nif [ ! -e {flag} ]; then touch {flag}; kill -9 $$; fi\nexec {python} "$@"\n')
    script.chmod(0o755)
    with Examiner(RULES) as examiner, monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(script))
        assert examiner.examine(ODD).outcome is Outcome.OK
    assert (tmp_path / "killed").exists()


def test_a_decoder_that_crashes_late_is_not_given_the_time_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = replace(RULES, seconds=2.0)
    with Examiner(rules) as examiner, monkeypatch.context() as patch:
        StandIn(tmp_path, patch, "say(bytes(8)); read_request(); time.sleep(1.5); os.abort()")
        found = examiner.examine(ODD)
    assert found.reason is Reason.CORRUPT and "crashed" in found.detail
    assert len((tmp_path / "process").read_text().split()) == 1


HANGS = {
    "never answers": "say(bytes(8)); read_request(); time.sleep(60)",
    "stops within its answer": "say(bytes(8)); read_request(); say(struct.pack('>II', 400, 0) + b'{'); time.sleep(60)",
    "never reads the file": "say(bytes(8)); time.sleep(60)",
    "heeds no signal": "[signal.signal(one, signal.SIG_IGN) for one in (signal.SIGTERM, signal.SIGINT)]; say(bytes(8)); "
    "read_request(); time.sleep(60)",
}


@pytest.mark.parametrize("hang", sorted(HANGS))
def test_a_decoder_that_hangs_makes_its_file_a_bomb_in_time_and_leaves_no_process(
    hang: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = ODD + bytes(300_000)  # more than a pipe holds
    found: list[tuple[Examined, float]] = []
    with Examiner(replace(RULES, seconds=0.5)) as examiner:
        with monkeypatch.context() as patch:
            program = StandIn(tmp_path, patch, HANGS[hang])

            def examine() -> None:
                started = time.monotonic()
                verdict = examiner.examine(content)
                found.append((verdict, time.monotonic() - started))

            thread = threading.Thread(target=examine, daemon=True)
            thread.start()
            thread.join(5)
            in_time = not thread.is_alive()
            for process in program.left_behind():  # so that the test itself ends
                os.kill(process, signal.SIGKILL)
                assert not in_time, "a process is left behind"
            thread.join(5)
        assert in_time, "still waiting after 5 s, with 0.5 s allowed"
        verdict, seconds = found[0]
        assert (verdict.outcome, verdict.reason) == (Outcome.REJECTED, Reason.BOMB)
        assert "longer than 0.5 s" in verdict.detail
        assert seconds < 4
    with Examiner(RULES) as next_one:
        assert next_one.examine(ODD).outcome is Outcome.OK


def test_the_next_file_after_one_that_hung_is_examined_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Examiner(replace(RULES, seconds=2)) as examiner:
        with monkeypatch.context() as patch:
            StandIn(tmp_path, patch, HANGS["never answers"])
            assert examiner.examine(ODD).reason is Reason.BOMB
        assert examiner.examine(ODD).outcome is Outcome.OK


def test_an_odd_file_is_examined_in_a_process_with_thousands_of_files_open() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4_096)), hard))
    others = [os.open(os.devnull, os.O_RDONLY) for _ in range(1_100)]
    try:
        with Examiner(RULES) as examiner:
            assert examiner.examine(ODD).outcome is Outcome.OK
    finally:
        for other in others:
            os.close(other)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_nothing_is_left_running_behind_an_examiner() -> None:
    with Examiner(RULES) as examiner:
        examiner.examine(ODD)
        assert examiner._process is not None
        process = examiner._process.pid
        assert _lives(process)
    assert not _lives(process)
    assert examiner.close() is None  # a second time does no harm


def test_an_ordinary_jpeg_needs_no_process() -> None:
    with Examiner(RULES) as examiner:
        assert examiner.examine(FILES["jpeg"]).outcome is Outcome.OK
        assert examiner._process is None


# --- The same verdict in both places ---

MORE_FILES = {
    **FILES,
    "cmyk jpeg": encoded(scene(mode="CMYK"), "JPEG", quality=95),
    "png with alpha": encoded(scene(mode="RGBA"), "PNG"),
    "palette png": encoded(scene().quantize(64), "PNG"),
    "16-bit png": encoded(Image.fromarray(np.linspace(0, 60_000, 64 * 64, dtype=np.uint16).reshape(64, 64)), "PNG"),
    "blank png": encoded(Image.new("RGB", (200, 100), "white"), "PNG"),
    "small png": encoded(scene(20, 40), "PNG"),
    "long png": encoded(scene(900, 40), "PNG"),
    "cut png": FILES["png"][:2_000],
    "cut jpeg": FILES["jpeg"][:2_000],
    "html": b"<!DOCTYPE html><html><body>Sign in</body></html>",
    "text": b"Not found",
    "nothing": b"",
    "bomb": png_header(60_000, 60_000),
}


@pytest.mark.parametrize("name", sorted(MORE_FILES))
def test_the_bounded_process_reaches_the_very_verdict_that_is_reached_here(name: str, examiner: Examiner) -> None:
    content = MORE_FILES[name]
    here, there = examine_here(content, RULES), examiner._examine_there(content, RULES.seconds)
    assert replace(there, peak_mb=0.0) == here
    assert replace(examiner.examine(content), peak_mb=0.0) == here
    assert there.peak_mb > 0


def test_many_files_go_through_one_process(examiner: Examiner) -> None:
    expected = [examine_here(content, RULES).reason for content in MORE_FILES.values()]
    examiner.examine(ODD)
    process = examiner._process
    assert [examiner.examine(content).reason for content in MORE_FILES.values()] == expected
    assert examiner._process is process


def test_what_a_verdict_says_can_be_written_down(examiner: Examiner) -> None:
    exif = Image.Exif()
    exif[0x8298], exif[0x013B] = "© Museum, “Archive”", "Łucja"
    found = examiner.examine(encoded(scene(), "PNG", exif=exif))
    assert found.outcome is Outcome.OK
    json.dumps(replace(found, jpeg=None).__dict__)
    assert "Museum" in found.credit


# --- Which JPEGs are ordinary ---


def _start_of_frame(jpeg: bytes) -> int:
    at = 2
    while jpeg[at + 1] not in (0xC0, 0xC1, 0xC2):
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return at


def _changed(jpeg: bytes, *, width: int = 0, height: int = 0, marker: int = 0, bits: int = 0, components: int = 0) -> bytes:
    """The JPEG with another header."""
    content, at = bytearray(jpeg), _start_of_frame(jpeg)
    if marker:
        content[at + 1] = marker
    if bits:
        content[at + 4] = bits
    if width and height:
        content[at + 5 : at + 9] = struct.pack(">HH", height, width)
    if components:
        content[at + 9] = components
    return bytes(content)


def _mpo() -> bytes:
    return encoded(scene(), "MPO", save_all=True, append_images=[scene(120, 80)])


@pytest.mark.parametrize("name", ["jpeg", "progressive jpeg", "grey jpeg"])
def test_a_small_jpeg_of_one_or_three_channels_is_ordinary(name: str) -> None:
    assert is_ordinary_jpeg(FILES[name])


def test_several_pictures_in_one_file_are_as_ordinary_as_the_first() -> None:
    assert is_ordinary_jpeg(_mpo())
    assert examine_here(_mpo(), RULES).outcome is Outcome.OK


@pytest.mark.parametrize("name", ["png", "webp", "gif", "tiff", "bmp"])
def test_no_other_format_is_an_ordinary_jpeg(name: str) -> None:
    assert not is_ordinary_jpeg(FILES[name])


@pytest.mark.parametrize(
    "changes",
    [
        {"marker": 0xC3},  # lossless
        {"marker": 0xC9},  # arithmetic coding
        {"marker": 0xCA},
        {"bits": 12},
        {"components": 2},
        {"components": 4},
        {"width": 65_500, "height": 65_500},
        {"width": 10_000, "height": 4_001},
    ],
)
def test_odd_or_large_jpegs_are_not_ordinary(changes: dict[str, int]) -> None:
    assert not is_ordinary_jpeg(_changed(FILES["jpeg"], **changes))


def test_printing_inks_are_not_ordinary() -> None:
    assert not is_ordinary_jpeg(encoded(scene(mode="CMYK"), "JPEG"))


def test_the_bound_is_lower_where_all_coefficients_are_kept() -> None:
    for name in ("jpeg", "progressive jpeg"):
        assert is_ordinary_jpeg(_changed(FILES[name], width=5_000, height=2_000))
    assert is_ordinary_jpeg(_changed(FILES["jpeg"], width=10_000, height=4_000))
    assert not is_ordinary_jpeg(_changed(FILES["progressive jpeg"], width=5_000, height=2_001))


def test_several_scans_count_as_progressive() -> None:
    content = bytearray(_changed(FILES["jpeg"], width=5_000, height=2_001))
    scan = content.index(b"\xff\xda")
    content[scan + 4] = 1  # one component in the first scan: others follow
    assert not is_ordinary_jpeg(bytes(content))


@pytest.mark.parametrize("name", ["jpeg", "progressive jpeg", "grey jpeg"])
def test_a_header_that_is_cut_anywhere_is_not_ordinary(name: str) -> None:
    content = FILES[name]
    scan = content.index(b"\xff\xda")
    assert [at for at in range(scan + 2) if is_ordinary_jpeg(content[:at])] == []


def test_a_thumbnail_in_the_metadata_is_not_taken_for_the_picture() -> None:
    small, large = FILES["jpeg"], _changed(FILES["progressive jpeg"], width=9_000, height=9_000)
    segment = b"\xff\xe1" + struct.pack(">H", len(small) + 2) + small
    assert not is_ordinary_jpeg(large[:2] + segment + large[2:])
    assert is_ordinary_jpeg(small[:2] + b"\xff\xe1" + struct.pack(">H", len(large) + 2) + large + small[2:])


def test_filling_before_a_marker_does_not_hide_the_real_size() -> None:
    """Decoders skip any number of FF before a marker; what is read behind them must not be another header."""
    large = _changed(FILES["progressive jpeg"], width=9_000, height=9_000)
    at = _start_of_frame(large)
    filled = large[:at] + b"\xff" + large[at:]
    hidden = at + 2 + int.from_bytes(filled[at + 2 : at + 4], "big")  # where a reader goes that knows of no filling
    small = _changed(FILES["jpeg"], width=64, height=64)
    comment = small[_start_of_frame(small) : small.index(b"\xff\xda") + 12]
    content = filled.ljust(hidden, b"\xff") + comment
    with Image.open(io.BytesIO(content)) as image:
        assert image.size == (9_000, 9_000)
    assert not is_ordinary_jpeg(content)


@settings(max_examples=300)
@given(st.binary(max_size=200), st.booleans())
@example(b"\xff\xd8\xff\xc0\x00\x00", True)
@example(b"\xff\xd8\xff\xda\x00", True)
def test_any_bytes_are_ordinary_or_not_and_nothing_else(content: bytes, as_jpeg: bool) -> None:
    assert isinstance(is_ordinary_jpeg(b"\xff\xd8\xff" + content if as_jpeg else content), bool)


@settings(max_examples=200)
@given(st.sampled_from(["jpeg", "progressive jpeg"]), st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), max_size=6))
def test_a_header_with_any_bytes_changed_is_ordinary_or_not_and_nothing_else(name: str, changes: list[tuple[int, int]]) -> None:
    content = bytearray(FILES[name])
    for at, value in changes:
        content[at] = value
    assert isinstance(is_ordinary_jpeg(bytes(content)), bool)


# --- Run-length codes of BMPs ---

END_OF_LINE, END = b"\0\0", b"\0\1"


def delta(across: int, down: int) -> bytes:
    return bytes([0, 2, across, down])


@pytest.mark.parametrize(
    "data",
    [
        END,
        b"\x04\x07" + END_OF_LINE + b"\x04\x08" + END,
        b"\x04\x07" + END_OF_LINE + b"\x04\x08" + END_OF_LINE + END,  # the last line ends, too
        b"\x01\x07\x03\x08" + END_OF_LINE + END,
        delta(4, 1) + END,
        delta(2, 1) + b"\x02\x07" + END,
        b"\0\x04\1\2\3\4" + END_OF_LINE + END,  # four pixels as they are
        b"\0\x03\1\2\3\0" + b"\x01\x09" + END_OF_LINE + END,  # three, and a byte to make them even
        b"\x04\x07" + END_OF_LINE + b"\x04\x08" + END + b"whatever follows",
    ],
)
def test_eight_bit_runs_that_fit_are_no_damage(data: bytes) -> None:
    assert rle_damage(data, 4, 2, nibbles=False) is None


@pytest.mark.parametrize(
    "data",
    [
        b"\x04\x78" + END_OF_LINE + b"\x04\x88" + END,
        b"\0\x04\x12\x34" + END_OF_LINE + END,  # four pixels in two bytes
        b"\0\x03\x12\x30" + b"\x01\x90" + END_OF_LINE + END,  # three in two bytes
    ],
)
def test_four_bit_runs_that_fit_are_no_damage(data: bytes) -> None:
    assert rle_damage(data, 4, 2, nibbles=True) is None


def test_five_pixels_of_four_bits_take_three_bytes_and_one_to_make_them_even() -> None:
    data = b"\0\x05\x12\x34\x50\x00" + b"\x01\x90" + END
    assert rle_damage(data, 6, 1, nibbles=True) is None
    assert rle_damage(data, 5, 1, nibbles=True) is not None  # six pixels


@pytest.mark.parametrize("nibbles", [False, True])
@pytest.mark.parametrize(
    "data",
    [
        b"\x05\x07" + END,  # beyond the right edge
        b"\x02\x07\x03\x07" + END,
        b"\0\x06" + bytes(6) + END,
        delta(5, 0) + END,
        delta(2, 0) + b"\x03\x07" + END,
        delta(0, 3) + END,  # below the last row
        END_OF_LINE * 3 + END,
        END_OF_LINE * 2 + b"\x01\x07" + END,  # a pixel in a row behind the last
        delta(0, 2) + b"\x01\x07" + END,
        END_OF_LINE * 2 + b"\0\x03\1\2\3\0" + END,
    ],
)
def test_runs_that_leave_the_picture_are_damage(data: bytes, nibbles: bool) -> None:
    assert rle_damage(data, 4, 2, nibbles=nibbles) is not None


@pytest.mark.parametrize("nibbles", [False, True])
@pytest.mark.parametrize(
    "data",
    [b"", b"\x04", b"\x04\x07", b"\x04\x07" + END_OF_LINE + b"\x04\x07" + END_OF_LINE, b"\0", b"\0\2", b"\0\2\1", b"\0\x04\1"],
)
def test_runs_without_their_end_are_cut_off(data: bytes, nibbles: bool) -> None:
    damage = rle_damage(data, 4, 2, nibbles=nibbles)
    assert damage is not None and "truncated" in damage


@given(st.binary(max_size=60), st.integers(1, 40), st.integers(1, 40), st.booleans())
def test_any_codes_are_damage_or_not_and_nothing_else(data: bytes, width: int, height: int, nibbles: bool) -> None:
    assert rle_damage(data, width, height, nibbles=nibbles) is None or rle_damage(data, width, height, nibbles=nibbles)


def _bmp(codes: bytes, width: int, height: int, *, bits: int) -> bytes:
    palette = b"".join(bytes([value, value, 255 - value, 0]) for value in range(0, 256, 1 if bits == 8 else 17))
    start = 14 + 40 + len(palette)
    head = struct.pack("<2sIHHI", b"BM", start + len(codes), 0, 0, start)
    compression = 1 if bits == 8 else 2
    colours = 1 << bits
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(codes), 2835, 2835, colours, colours)
    return head + info + palette + codes


def _stripes(width: int, height: int, *, bits: int) -> bytes:
    dark, light = (b"\x10", b"\xf0") if bits == 8 else (b"\x11", b"\xee")
    half = bytes([width // 2])
    return (half + dark + half + light + END_OF_LINE) * height + END


@pytest.mark.parametrize("bits", [8, 4])
def test_a_bmp_of_runs_is_a_picture_when_they_fit_and_is_told_from_damaged_and_cut_off_ones(
    bits: int, examiner: Examiner
) -> None:
    codes = _stripes(64, 48, bits=bits)
    assert examiner.examine(_bmp(codes, 64, 48, bits=bits)).outcome is Outcome.OK
    for content, reason in (
        (_bmp(codes.replace(b"\x20", b"\x21"), 64, 48, bits=bits), Reason.CORRUPT),
        (_bmp(codes, 60, 48, bits=bits), Reason.CORRUPT),
        (_bmp(codes, 64, 40, bits=bits), Reason.CORRUPT),
        (_bmp(codes[:-2], 64, 48, bits=bits), Reason.TRUNCATED),
        (_bmp(codes[:100], 64, 48, bits=bits), Reason.TRUNCATED),
    ):
        found = examiner.examine(content)
        assert (found.outcome, found.reason) == (Outcome.REJECTED, reason), found.detail


# --- Attribution ---

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
NAMES = {
    "rights": "{http://ns.adobe.com/xap/1.0/rights/}WebStatement",
    "source": "{http://purl.org/dc/elements/1.1/}source",
    "provider": "{http://ns.adobe.com/photoshop/1.0/}Credit",
}
JPEG = normalised_jpeg(np.asarray(scene()), side_px=200, quality=90)


def _said(jpeg: bytes) -> dict[str, str]:
    """What a reader of the JPEG finds in its XMP packet."""
    with Image.open(io.BytesIO(jpeg)) as image:
        image.load()
        packet = image.info.get("xmp")
    if packet is None:
        return {}
    description = ElementTree.fromstring(packet).find(f"{RDF}RDF/{RDF}Description")
    assert description is not None
    said = {name: description.attrib[key] for name, key in NAMES.items() if key in description.attrib}
    credit = description.find(f"{{http://purl.org/dc/elements/1.1/}}rights/{RDF}Alt/{RDF}li")
    return said | ({} if credit is None else {"credit": credit.text or ""})


FULL = {
    "rights": "http://creativecommons.org/licenses/by-sa/4.0/",
    "source": "http://data.europeana.eu/item/2021650/abc",
    "provider": "Museum of “Fine” Arts & Crafts",
    "credit": "© Łucja O'Neil <photo@example.org>",
}


def test_a_reader_finds_rights_source_provider_and_credit_in_the_picture() -> None:
    assert _said(with_attribution(JPEG, Attribution(**FULL))) == FULL


@pytest.mark.parametrize("name", sorted(FULL))
def test_only_what_is_known_is_said(name: str) -> None:
    assert _said(with_attribution(JPEG, Attribution(**{name: FULL[name]}))) == {name: FULL[name]}


def test_there_is_no_packet_when_there_is_nothing_to_say() -> None:
    assert with_attribution(JPEG, Attribution()) == JPEG


@pytest.mark.parametrize("text", ["\0", "\x1b\x07", "\n", " \t "])
def test_there_is_no_packet_when_all_that_is_said_is_blank_or_unprintable(text: str) -> None:
    assert with_attribution(JPEG, Attribution(text, text, text, text)) == JPEG


def test_nothing_else_of_the_file_changes() -> None:
    said = with_attribution(JPEG, Attribution(**FULL))
    at = 2 + 2 + int.from_bytes(JPEG[4:6], "big")  # behind the JFIF segment, which has to be the first
    assert JPEG[2:4] == b"\xff\xe0" and said[:at] == JPEG[:at]
    size = 2 + int.from_bytes(said[at + 2 : at + 4], "big")
    assert said[at : at + 2] == b"\xff\xe1" and said[at + size :] == JPEG[at:]
    assert np.array_equal(np.asarray(decode_derivative(said)), np.asarray(decode_derivative(JPEG)))


def test_a_jpeg_without_jfif_gets_its_packet_first() -> None:
    bare = JPEG[:2] + JPEG[4 + int.from_bytes(JPEG[4:6], "big") :]
    said = with_attribution(bare, Attribution(**FULL))
    assert said[:4] == b"\xff\xd8\xff\xe1" and _said(said) == FULL


@pytest.mark.parametrize(
    "text", ["""a"b'c""", "<&>", "]]>", "<!--", "&amp;", "{}", "%s", "</rdf:li>", '"/><x y="', "ÄÖß 中文 עברית 🏺"]
)
def test_what_is_special_to_xml_is_read_back_as_it_was(text: str) -> None:
    assert _said(with_attribution(JPEG, Attribution(text, text, text, text))) == dict.fromkeys(FULL, text)


@pytest.mark.parametrize("text", ["a\0b", "a\x1bb", "a\ud800b", "a\ufffeb", "a\x7fb"])
def test_what_xml_does_not_allow_is_left_out(text: str) -> None:
    assert _said(with_attribution(JPEG, Attribution(text, text, text, text))) == dict.fromkeys(FULL, "ab")


@pytest.mark.parametrize("space", ["\u00a0", "\n", "\r\n", "\t", "\u202f", "\u3000"])
def test_words_stay_apart_whatever_space_is_between_them(space: str) -> None:
    text = f"Musée{space}d’Orsay"
    said = _said(with_attribution(JPEG, Attribution(text, text, text, text)))
    assert {name: value.split() for name, value in said.items()} == dict.fromkeys(FULL, ["Musée", "d’Orsay"])


def test_more_than_a_segment_holds_leaves_the_picture_as_it_is() -> None:
    with_much = with_attribution(JPEG, Attribution(credit="x" * 70_000))
    assert decode_derivative(with_much).size == decode_derivative(JPEG).size
    assert _said(with_attribution(JPEG, Attribution(credit="x" * 60_000))) == {"credit": "x" * 60_000}


TEXTS = st.text(max_size=40)


@settings(max_examples=150)
@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_any_texts_give_a_picture_whose_packet_can_be_read(rights: str, source: str, provider: str, credit: str) -> None:
    texts = {"rights": rights, "source": source, "provider": provider, "credit": credit}
    for name, said in _said(with_attribution(JPEG, Attribution(**texts))).items():
        left = iter(texts[name])
        assert all(letter.isspace() or letter in left for letter in said)  # its own letters, in their order
        kept = [letter for letter in texts[name] if letter.isprintable() and not letter.isspace()]
        assert [letter for letter in said if letter.isprintable() and not letter.isspace()] == kept
