"""Does the run-length code of a BMP fit its picture? Pillow draws whatever it can and does not say what it could not."""

_END_OF_LINE, _END_OF_PICTURE, _DELTA = 0, 1, 2


def rle_damage(data: bytes, width: int, height: int, *, nibbles: bool) -> str | None:
    """What is wrong with a BMP's RLE8 (or, with `nibbles`, RLE4) data; None when nothing is.

    Runs that leave the picture and data without the code for its end are damage (Windows BI_RLE8, BI_RLE4).
    """
    x = y = at = 0
    while at + 1 < len(data):
        count, value = data[at], data[at + 1]
        at += 2
        if count:
            x += count
        elif value == _END_OF_LINE:
            x, y = 0, y + 1
        elif value == _END_OF_PICTURE:
            return None
        elif value == _DELTA:
            if at + 1 >= len(data):
                break
            x, y, at = x + data[at], y + data[at + 1], at + 2
        else:
            x += value
            size = (value + 1) // 2 if nibbles else value
            at += size + size % 2
        if x > width or y > height or (x and y == height):
            return f"a run leaves the picture at column {x}, row {y}"
    return "the run-length code is truncated"
