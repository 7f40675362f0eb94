"""Learning curves as a picture: the loss of each epoch, in training and on held-out pictures, for each fold."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT, MARGIN = 640, 320, 40
_COLOURS = ("#1b6ca8", "#b8433a", "#3c8d5a", "#8a5fa8", "#a8801b", "#4d4d4d")


HEAD, TUNING = "head", "tuning"


@dataclass(frozen=True)
class Epoch:
    """What one epoch of a fold came to; its number runs on from one phase to the next.

    `held_out_loss` is None where nothing was held out: of a network that learns from all pictures.
    """

    fold: int
    number: int
    loss: float
    held_out_loss: float | None
    phase: str = HEAD


def curves_svg(epochs: Sequence[Epoch]) -> str:
    """The curves as SVG: dashed in training, drawn through on held-out pictures; a colour a fold, a line between phases."""
    most = max((max(one.loss, one.held_out_loss or 0.0) for one in epochs), default=1.0) or 1.0
    last = max((one.number for one in epochs), default=0)
    across = (WIDTH - 2 * MARGIN) / max(last, 1)

    def path(points: Sequence[tuple[int, float]], colour: str, dash: str) -> str:
        up = (HEIGHT - 2 * MARGIN) / most
        places = " ".join(f"{MARGIN + number * across:.1f},{HEIGHT - MARGIN - value * up:.1f}" for number, value in points)
        return f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="1.5" stroke-dasharray="{dash}"/>'

    lines = []
    for fold in sorted({one.fold for one in epochs}):
        own = [one for one in epochs if one.fold == fold]
        colour = _COLOURS[fold % len(_COLOURS)]
        lines.append(path([(one.number, one.loss) for one in own], colour, "4 3"))
        if held_out := [(one.number, one.held_out_loss) for one in own if one.held_out_loss is not None]:
            lines.append(path(held_out, colour, ""))
    if tuned_from := min((one.number for one in epochs if one.phase == TUNING), default=0):
        place = MARGIN + (tuned_from - 0.5) * across
        lines.append(f'<path d="M{place:.1f},{MARGIN}V{HEIGHT - MARGIN}" stroke="#888" stroke-dasharray="2 2"/>')
        lines.append(f'<text x="{place + 4:.1f}" y="{MARGIN + 12}">tuning</text>')
    axis = f"M{MARGIN},{MARGIN}V{HEIGHT - MARGIN}H{WIDTH - MARGIN}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/><path d="{axis}" fill="none" stroke="#888"/>'
        f'<text x="{MARGIN}" y="{MARGIN - 12}">loss up to {most:.3f}: dashed in training, drawn through held out</text>'
        f'<text x="{WIDTH - MARGIN}" y="{HEIGHT - 14}" text-anchor="end">epoch {last + 1}</text>{"".join(lines)}</svg>'
    )
