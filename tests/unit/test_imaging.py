"""Pictures: what is accepted, what is refused and why, what becomes of it, and which addresses may be visited for it."""

import asyncio
import io
import random
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.domain.outcome import Outcome, Reason
from pipeline.imaging.address_guard import GuardedResolver, RefusedAddressError, check_url
from pipeline.imaging.derivative import decode_derivative, normalised_jpeg
from pipeline.imaging.inspect import Inspection, Limits, inspect_image
from pipeline.imaging.look import look_at, perceptual_hash

LIMITS = Limits(min_side_px=32, max_pixels=100_000_000, max_aspect=20.0)


def scene(width: int = 240, height: int = 160, mode: str = "RGB") -> Image.Image:
    """A picture with smooth and busy parts: red at the left, blue at the right, noise below."""
    across = np.linspace(0, 255, width, dtype=np.uint8)[None, :].repeat(height, 0)
    pixels = np.stack([255 - across, np.full_like(across, 40), across], axis=2)
    noise = np.random.default_rng(7).integers(0, 256, (height // 3, width, 3), dtype=np.uint8)
    pixels[-(height // 3) :] = pixels[-(height // 3) :] // 2 + noise // 2
    return Image.fromarray(pixels).convert(mode)


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


FILES = {
    "jpeg": encoded(scene(), "JPEG", quality=90),
    "progressive jpeg": encoded(scene(), "JPEG", progressive=True),
    "grey jpeg": encoded(scene(mode="L"), "JPEG"),
    "png": encoded(scene(), "PNG"),
    "webp": encoded(scene(), "WEBP"),
    "gif": encoded(scene(), "GIF"),
    "tiff": encoded(scene(), "TIFF", compression="tiff_lzw"),
    "bmp": encoded(scene(), "BMP"),
}


def inspect(content: bytes, limits: Limits = LIMITS, side: int = 400) -> Inspection:
    return inspect_image(content, limits, target_side_px=side)


def accepted(content: bytes) -> Image.Image:
    verdict = inspect(content)
    assert (verdict.outcome, verdict.reason) == (Outcome.OK, None), verdict.detail
    assert verdict.pixels is not None and verdict.pixels.dtype == np.uint8
    return Image.fromarray(verdict.pixels, "RGB")


def reason_of(content: bytes, limits: Limits = LIMITS) -> Reason | None:
    verdict = inspect(content, limits)
    assert (verdict.outcome is Outcome.OK) == (verdict.pixels is not None) == (verdict.reason is None)
    return verdict.reason


def colour(picture: Image.Image, x: float, y: float) -> tuple[int, ...]:
    return tuple(np.asarray(picture)[int(y * picture.height), int(x * picture.width)].tolist())


# --- Accepted ---


@pytest.mark.parametrize(
    ("name", "mime"),
    [
        ("jpeg", "image/jpeg"),
        ("progressive jpeg", "image/jpeg"),
        ("grey jpeg", "image/jpeg"),
        ("png", "image/png"),
        ("webp", "image/webp"),
        ("gif", "image/gif"),
        ("tiff", "image/tiff"),
        ("bmp", "image/bmp"),
    ],
)
def test_a_good_picture_is_accepted_with_its_real_type_and_size(name: str, mime: str) -> None:
    verdict = inspect(FILES[name])
    assert (verdict.outcome, verdict.mime, verdict.width_px, verdict.height_px) == (Outcome.OK, mime, 240, 160)
    assert verdict.pixels is not None and verdict.pixels.shape == (160, 240, 3)


def test_a_large_jpeg_is_decoded_at_a_smaller_scale_but_never_below_what_is_wanted() -> None:
    content = encoded(scene(2400, 1600), "JPEG")
    verdict = inspect(content)
    assert (verdict.width_px, verdict.height_px) == (2400, 1600)
    assert verdict.pixels is not None
    height, width, _ = verdict.pixels.shape
    assert min(width, height) >= 400 and width < 2400
    assert width / height == pytest.approx(1.5, abs=0.01)


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (64, 64), name) for name in ("red", "lime")]
    for frame in frames:
        frame.paste((0, 0, 0), (0, 0, 32, 64))
    picture = accepted(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert colour(picture, 0.9, 0.5) == (255, 0, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_picture_is_turned_upright_by_its_exif_orientation(kind: str, orientation: int) -> None:
    upright = scene(240, 160)
    turns = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    turn = turns[orientation]
    stored = upright.transpose(turn) if turn is not None else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = accepted(encoded(stored, kind, exif=exif))
    assert picture.size == (240, 160)
    red, _, blue = colour(picture, 0.05, 0.1)
    assert red > 200 and blue < 60


# --- Modes ---


def test_cmyk_keeps_its_colours() -> None:
    picture = accepted(encoded(scene().convert("CMYK"), "JPEG", quality=95))
    red, _, blue = colour(picture, 0.05, 0.1)
    assert red > 190 and blue < 80


def test_sixteen_bit_grey_uses_the_whole_range_of_grey() -> None:
    values = np.linspace(1000, 3000, 64 * 64, dtype=np.uint16).reshape(64, 64)
    for kind in ("PNG", "TIFF"):
        grey = np.asarray(accepted(encoded(Image.fromarray(values), kind)))
        assert grey.min() <= 2 and grey.max() >= 253
        assert grey[0, 0, 0] < grey[32, 32, 0] < grey[63, 63, 0]


def test_a_float_picture_uses_the_whole_range_of_grey() -> None:
    values = np.linspace(-1, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    grey = np.asarray(accepted(encoded(Image.fromarray(values), "TIFF")))
    assert grey.min() <= 2 and grey.max() >= 253


def test_a_palette_becomes_its_colours() -> None:
    picture = accepted(encoded(scene().quantize(64), "PNG"))
    red, _, blue = colour(picture, 0.05, 0.1)
    assert red > 200 and blue < 60


def test_one_bit_becomes_black_and_white() -> None:
    picture = accepted(encoded(scene(mode="L").point(lambda value: 255 * (value > 60)).convert("1"), "PNG"))
    assert set(np.unique(np.asarray(picture))) == {0, 255}


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_parts_become_white(mode: str) -> None:
    clear = scene().convert("RGBA")
    clear.paste((0, 0, 0, 0), (0, 0, 120, 160))
    options: dict[str, object] = {}
    if mode == "P":
        drawn = scene().quantize(32)
        options["transparency"] = drawn.getpixel((2, 2))
        content = encoded(drawn, "PNG", **options)
    else:
        content = encoded(clear.convert(mode), "PNG")
    assert colour(accepted(content), 0.01, 0.02) == (255, 255, 255)


def test_a_colour_profile_is_applied_and_a_broken_one_is_no_reason_to_refuse() -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for wrong in (b"not a profile", profile):
        accepted(encoded(scene(), "PNG", icc_profile=wrong))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same = accepted(encoded(scene(), "PNG", icc_profile=srgb))
    assert np.abs(np.asarray(same).astype(int) - np.asarray(scene()).astype(int)).max() <= 3


# --- Refused ---


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<!DOCTYPE html><html><body>Sign in</body></html>",
        b"\n  <HTML><head>",
        b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
        b"<svg viewBox='0 0 1 1'/>",
        b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj",
        b'{"error": "not found"}',
        b"Not found",
        b"\x00" * 1000,
        b"PK\x03\x04" + b"\x00" * 100,
        bytes(range(256)) * 4,
    ],
)
def test_what_is_no_picture_is_refused_as_such(content: bytes) -> None:
    assert reason_of(content) is Reason.NOT_AN_IMAGE


@pytest.mark.parametrize("content", [b"8BPS\x00\x01", b"\xff\xd8\xff\xe0nothing", b"\x00\x00\x00\x18ftypheic"])
def test_what_looks_like_a_format_that_cannot_be_opened_is_unsupported(content: bytes) -> None:
    assert reason_of(content) is Reason.UNSUPPORTED_FORMAT


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n", b"GIF89a"])
def test_the_first_bytes_of_a_common_format_without_the_rest_are_corrupt(content: bytes) -> None:
    assert reason_of(content) is Reason.CORRUPT


@pytest.mark.parametrize("name", ["jpeg", "progressive jpeg", "grey jpeg", "png", "webp", "tiff", "bmp"])
def test_a_file_that_is_cut_off_anywhere_is_never_accepted(name: str) -> None:
    content = FILES[name]
    for position in range(1, len(content) - 2, max(1, len(content) // 60)):
        reason = reason_of(content[:position])
        assert reason is not None, f"{name} cut at {position} of {len(content)} bytes"
        if position > 1000:
            assert reason in (Reason.TRUNCATED, Reason.CORRUPT, Reason.UNSUPPORTED_FORMAT, Reason.NOT_AN_IMAGE)


@pytest.mark.parametrize("name", ["jpeg", "progressive jpeg", "grey jpeg", "png"])
def test_a_cut_in_the_pixels_is_named_as_what_it_is(name: str) -> None:
    content = FILES[name]
    for share in (0.5, 0.7, 0.9, 0.99):
        assert reason_of(content[: int(len(content) * share)]) in (Reason.TRUNCATED, Reason.CORRUPT)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(FILES)), st.integers(0, 2**32))
def test_flipped_bits_never_crash(name: str, seed: int) -> None:
    chance = random.Random(seed)
    content = bytearray(FILES[name])
    for _ in range(chance.randint(1, 12)):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    reason_of(bytes(content))


@settings(max_examples=200)
@given(
    st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\x10\0\0\0WEBP", b"BM", b"II*\0"]),
    st.binary(),
)
def test_any_bytes_get_a_verdict(start: bytes, rest: bytes) -> None:
    reason_of(start + rest)


def png_header(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(10_001, 10_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1), (2**31 - 1, 40)])
def test_a_bomb_is_refused_on_its_header_quickly_and_in_little_memory(size: tuple[int, int]) -> None:
    content = png_header(*size)
    tracemalloc.start()
    started = time.monotonic()
    assert reason_of(content) is Reason.BOMB
    assert time.monotonic() - started < 0.5
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        ((31, 200), Reason.TOO_SMALL),
        ((200, 31), Reason.TOO_SMALL),
        ((2, 4), Reason.TOO_SMALL),
        ((32, 32), None),
        ((40, 801), Reason.BAD_ASPECT),
        ((801, 40), Reason.BAD_ASPECT),
        ((800, 40), None),
    ],
)
def test_the_bounds_of_size_and_shape_are_exact(size: tuple[int, int], reason: Reason | None) -> None:
    verdict = inspect(encoded(scene(*size), "PNG"))
    assert verdict.reason is reason
    assert (verdict.width_px, verdict.height_px, verdict.mime) == (*size, "image/png")


def test_the_bound_of_pixels_is_the_callers() -> None:
    limits = Limits(min_side_px=32, max_pixels=240 * 160 - 1, max_aspect=20.0)
    assert reason_of(FILES["png"], limits) is Reason.BOMB
    assert reason_of(FILES["png"], Limits(32, 240 * 160, 20.0)) is None


@pytest.mark.parametrize("shade", ["white", "black", (200, 10, 10)])
def test_one_colour_all_over_is_near_blank(shade: object) -> None:
    picture = Image.new("RGB", (300, 200), shade)  # type: ignore[arg-type]
    assert reason_of(encoded(picture, "PNG")) is Reason.NEAR_BLANK
    assert reason_of(encoded(picture, "JPEG")) is Reason.NEAR_BLANK


def test_a_faint_drawing_is_not_near_blank() -> None:
    picture = Image.new("L", (300, 200), 250)
    picture.paste(225, (100, 80, 200, 120))
    assert reason_of(encoded(picture, "PNG")) is None


# --- Derivatives ---


@given(st.integers(32, 900), st.integers(32, 900), st.sampled_from([64, 224, 400]))
@settings(max_examples=25, deadline=None)
def test_a_derivative_is_bounded_never_enlarged_and_keeps_its_shape(width: int, height: int, side: int) -> None:
    picture = Image.new("RGB", (width, height), (90, 120, 30))
    small = decode_derivative(normalised_jpeg(np.asarray(picture), side_px=side, quality=90))
    assert max(small.size) == min(side, max(width, height))
    assert small.width / small.height == pytest.approx(width / height, rel=0.1)


def test_a_derivative_has_no_metadata_and_the_right_colours() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "at home"
    exif.get_ifd(0x8825)[1] = "N"
    picture = accepted(encoded(scene(900, 600), "JPEG", exif=exif, comment="private", quality=95))
    jpeg = normalised_jpeg(np.asarray(picture), side_px=400, quality=90)
    with Image.open(io.BytesIO(jpeg)) as image:
        assert image.format == "JPEG" and not image.getexif()
        assert not {"exif", "icc_profile", "comment"} & set(image.info)
    assert b"at home" not in jpeg and b"private" not in jpeg


@pytest.mark.parametrize("size", [(1206, 1493), (1003, 813), (1700, 1301)])
def test_a_jpeg_decoded_smaller_is_shrunk_in_register_with_the_whole_picture(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(5)
    clouds = Image.fromarray(rng.integers(0, 256, (size[1] // 30, size[0] // 30), np.uint8))
    content = encoded(clouds.resize(size, Image.Resampling.BICUBIC).convert("RGB"), "JPEG", quality=95)
    found = inspect_image(content, Limits(32, 100_000_000, 20.0), target_side_px=400)
    assert found.pixels is not None
    ours = decode_derivative(normalised_jpeg(found.pixels, side_px=400, quality=95, extent=found.extent))
    whole = Image.open(io.BytesIO(content)).resize(ours.size, Image.Resampling.LANCZOS)
    error = np.mean((np.asarray(ours, float) - np.asarray(whole, float)) ** 2)
    assert 10 * np.log10(255**2 / error) > 44


def test_hatching_too_fine_for_the_derivative_becomes_grey_and_hardly_any_moire() -> None:
    lines = np.full((1200, 1500, 3), 240, np.uint8)
    lines[:, ::6] = 20
    verdict = inspect(encoded(Image.fromarray(lines), "JPEG", quality=95))
    assert verdict.pixels is not None
    small = np.asarray(decode_derivative(normalised_jpeg(verdict.pixels, side_px=400, quality=90)).convert("L"))
    assert small.std() < 0.15 * lines.std()  # a Hamming filter leaves 0.26, one that skips pixels 0.30


def test_the_same_picture_gives_the_same_derivative_every_time() -> None:
    picture = scene(900, 600)
    assert normalised_jpeg(np.asarray(picture), side_px=400, quality=90) == normalised_jpeg(
        np.asarray(picture), side_px=400, quality=90
    )


def test_the_perceptual_hash_survives_scaling_and_tells_pictures_apart() -> None:
    def distance(one: str, other: str) -> int:
        return (int(one, 16) ^ int(other, 16)).bit_count()

    picture = scene(900, 600)

    def hash_of(picture: Image.Image) -> str:
        return perceptual_hash(look_at(np.asarray(picture)))

    own = hash_of(picture)
    assert len(own) == 16
    again = hash_of(decode_derivative(normalised_jpeg(np.asarray(picture), side_px=300, quality=70)))
    assert distance(own, again) <= 6
    assert distance(own, hash_of(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT))) > 16


# --- Which addresses may be visited ---

NONE: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a.jpg",
        "http://127.8.9.1:8080/a.jpg",
        "http://10.0.0.1/",
        "http://172.16.3.4/",
        "https://192.168.1.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://0.0.0.0/",
        "http://100.64.0.1/",
        "http://224.0.0.1/",
        "http://239.1.2.3/",
        "http://255.255.255.255/",
        "http://[::1]/",
        "http://[::]/",
        "http://[fe80::1]/",
        "http://[fe80::1%25eth0]/",
        "http://[fc00::1]/",
        "http://[ff02::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://user:password@127.0.0.1/",
        "ftp://example.org/a.jpg",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "gopher://example.org/",
        "//example.org/a.jpg",
        "example.org/a.jpg",
        "http://",
        "http:///a.jpg",
        "http://example.org:99999/",
        "http://[::1/",
        "",
    ],
)
def test_an_address_that_is_private_or_not_http_is_refused(url: str) -> None:
    with pytest.raises(RefusedAddressError):
        check_url(url, NONE)


@pytest.mark.parametrize("url", ["http://example.org/a.jpg", "https://93.184.215.14/", "https://[2606:4700:4700::1111]:8443/x"])
def test_a_public_address_is_let_through(url: str) -> None:
    check_url(url, NONE)


def test_only_the_very_host_and_port_of_an_exemption_are_let_through() -> None:
    exempt = frozenset({"127.0.0.2:8090"})
    check_url("http://127.0.0.2:8090/iiif/x", exempt)
    for url in ("http://127.0.0.2:8091/", "http://127.0.0.2/", "http://127.0.0.3:8090/", "ftp://127.0.0.2:8090/"):
        with pytest.raises(RefusedAddressError):
            check_url(url, exempt)


@pytest.mark.parametrize("host", ["localhost", "2130706433", "127.1", "0x7f.1", "0177.0.0.1", "0"])
def test_a_name_or_an_odd_spelling_that_leads_to_this_machine_is_refused_on_connecting(host: str) -> None:
    async def resolve() -> None:
        resolver = GuardedResolver(NONE)
        try:
            await resolver.resolve(host, 80)
        finally:
            await resolver.close()

    with pytest.raises(RefusedAddressError):
        asyncio.run(resolve())


def test_an_exempt_name_is_resolved() -> None:
    async def resolve() -> list[str]:
        resolver = GuardedResolver(frozenset({"localhost:8090"}))
        try:
            return [entry["host"] for entry in await resolver.resolve("localhost", 8090)]
        finally:
            await resolver.close()

    assert "127.0.0.1" in asyncio.run(resolve())


HOSTILE = Path(__file__).parents[3] / "shared" / "hostile"


@pytest.mark.skipif(not HOSTILE.is_dir(), reason="no ../shared/hostile beside the project")
def test_no_awkward_file_crashes_or_takes_long():
    for path in sorted(file for file in HOSTILE.rglob("*") if file.is_file()):
        started = time.monotonic()
        found = inspect_image(path.read_bytes(), Limits(32, 100_000_000, 20.0), target_side_px=400)
        assert (found.pixels is not None) == (found.outcome == "ok"), path.name
        assert time.monotonic() - started < 10, path.name


@pytest.mark.parametrize("start", range(20))
def test_damage_inside_a_jpeg_is_noticed(start):
    content = bytearray(encoded(scene(800, 600), "JPEG", quality=90))
    middle = len(content) // 3 + start * len(content) // 40
    content[middle : middle + 200] = bytes(200)
    assert reason_of(bytes(content)) in (Reason.CORRUPT, Reason.TRUNCATED)


def test_padding_before_the_end_and_junk_between_header_segments_are_forgiven():
    content = encoded(scene(300, 200), "JPEG", quality=90)
    assert reason_of(content[:-2] + b"\xff\xff\xff" + content[-2:]) is None
    assert reason_of(content[:-2] + bytes(7) + content[-2:]) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://①②⑦.⓪.⓪.①/",
        "http://[64:ff9b::7f00:1]/",
        "http://[::127.0.0.1]/",
        "http://[2002:7f00:1::]/",
        "http://[::ffff:10.0.0.1]/",
        "http://[::1",
        "http://127.0.0.1:notaport/",
    ],
)
def test_disguised_private_addresses_are_refused(url):
    with pytest.raises(RefusedAddressError):
        check_url(url, frozenset())
