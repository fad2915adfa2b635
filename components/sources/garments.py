"""Draws garments from formulas: a substitute for Fashion-MNIST that needs no download.

All images of a class are drawn at once, in a `Drawing`. A garment consists of shapes that are
painted back to front in tones relative to its cloth. At the end, the tones are multiplied by the
cloth: its brightness, fabric, folds, and light from one side.

The order of the random draws determines the pixels, so inserting or moving a draw changes all
garments that are drawn after it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from components.sources.drawing import (
    IMAGE_SHAPE,
    Drawing,
    Field,
    below,
    ellipse,
    limb,
    overlap,
    profile,
    radius,
    rounded,
    to_multiple,
)

Range = tuple[float, float]  # bounds of a uniform random draw
TOP = -13.4  # y of a garment's upper edge
TOE, HEEL = -13.4, 13.0  # x of a shoe's two ends


def draw_garments(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draws a garment for each label.

    Args:
      labels: integers, shape [N], indices into `CLASS_NAMES`.
      rng: random generator; the same labels and the same state give the same images.

    Returns:
      Light garments on black, uint8, shape [N, 28, 28, 1].

    Raises:
      ValueError: a label is not an index into `CLASS_NAMES`.
    """
    labels = np.asarray(labels)
    invalid = labels[(labels < 0) | (labels >= len(CLASS_NAMES))]
    if invalid.size:
        received = np.unique(invalid).tolist()
        raise ValueError(f"labels must be in 0..{len(CLASS_NAMES) - 1}. Received: {received}")
    images = np.zeros((len(labels), *IMAGE_SHAPE), np.uint8)
    for label, (draw, fabrics) in enumerate(GARMENTS.values()):
        (rows,) = np.nonzero(labels == label)
        if rows.size:
            drawing = Drawing(rows.size, rng)
            draw(drawing)
            images[rows, :, :, 0] = drawing.finish(fabrics)
    return images


# --- garments for the upper body ------------------------------------------------------------------


@dataclass(frozen=True)
class Cut:
    """Ranges of the measures of a class of tops, in pixels; widths are from the middle."""

    length: Range = (24.0, 27.0)
    shoulder: Range = (6.0, 7.4)
    waist: Range = (13.0, 17.0)  # distance of the waist below the shoulders
    flare: Range = (0.0, 0.8)  # how much wider the hem is than the waist
    tail: Range = (0.0, 0.5)  # distance of the hem's middle below its sides
    sleeved: float = 1.0  # share of the garments with sleeves
    sleeve: Range = (19.5, 23.0)  # length of a sleeve
    sleeve_angle: Range = (0.12, 0.28)  # from vertical, away from the body, in radians
    neck_depth: Range = (1.2, 3.4)
    neckband: Range = (0.6, 1.6)


T_SHIRT = Cut(shoulder=(6.6, 8.0), sleeve=(5.0, 8.5), sleeve_angle=(0.4, 0.95), neck_depth=(1.5, 5))
PULLOVER = Cut()
DRESS = Cut(shoulder=(3.2, 4.6), waist=(7.5, 11), flare=(0.6, 5.5), sleeved=0.4, sleeve=(3.0, 8.0))
COAT = Cut(flare=(0.4, 2.0), neck_depth=(5.0, 11.0), neckband=(2.5, 5.0))
SHIRT = Cut(tail=(1.0, 3.5), sleeve=(16.0, 22.0), neck_depth=(1.2, 2.6))


def draw_top(drawing: Drawing, cut: Cut) -> tuple[Field, Field, Field]:
    """Draws sleeves, body and neckline.

    Returns:
      The body's shape, shape [N, 28, 28]; the y of its waist, shape [N, 1, 1]; and the y of its
      hem, shape [N, 1, 28].
    """
    x, y, vary = drawing.x, drawing.y, drawing.vary
    side = np.abs(x)
    shoulder, shoulder_y = vary(*cut.shoulder), TOP + vary(1.2, 2.6)
    waist, hem = shoulder_y + vary(*cut.waist), TOP + vary(*cut.length)

    arm = shoulder * vary(0.35, 0.42)
    arm_x, arm_y = side - shoulder + 0.9 * arm, y - shoulder_y - 0.75 * arm
    angle, length = vary(*cut.sleeve_angle), vary(*cut.sleeve)
    sleeve = limb(arm_x, arm_y, angle, length, (arm, arm * vary(0.6, 1.0)), bow=vary(-0.2, 1.0))

    neck = shoulder * vary(0.38, 0.58)
    narrow = shoulder * vary(0.68, 0.88)
    wide = narrow + vary(*cut.flare)
    outline = profile(y, (TOP, neck + 0.9), (shoulder_y, shoulder), (waist, narrow), (hem, wide))
    hem = hem - vary(*cut.tail) * (x / shoulder) ** 2
    body = overlap(below(side, outline), y - TOP, below(y, hem))

    sleeved = drawing.some(cut.sleeved)
    drawing.drape(sleeve, 0.95, sleeved)
    drawing.paint(overlap(sleeve, body + 0.8), 0.35, sleeved)  # the body's shadow on the sleeve
    drawing.drape(body)

    depth, band = vary(*cut.neck_depth), vary(*cut.neckband)
    roundness = vary(0.9, 3.0)  # of the neckline: 1 is a V, 2 a scoop, 3 a boat neck
    collar = TOP + (depth + band) * (1 - (side / (neck + band / 2)) ** roundness)
    neckline = TOP + depth * (1 - (side / neck) ** roundness)
    drawing.drape(overlap(body, below(y, collar)), vary(0.75, 1.2))
    drawing.paint(overlap(body, below(y, neckline)), vary(0.0, 0.4))
    return body, waist, hem


def draw_t_shirt(drawing: Drawing) -> None:
    """Short sleeves; some with a badge or lines of text on the chest."""
    y, vary = drawing.y, drawing.vary
    draw_top(drawing, T_SHIRT)
    badge = ellipse(drawing.x, y + vary(1, 4), vary(2, 5), vary(2, 4))
    lines = vary(0.4, 2) - to_multiple(y, vary(2, 3))
    drawing.paint(overlap(badge, lines), drawing.accent(), drawing.some(0.4))


def draw_pullover(drawing: Drawing) -> None:
    """Long sleeves and a ribbed hem."""
    body, _, hem = draw_top(drawing, PULLOVER)
    ribbing = drawing.y - hem + drawing.vary(1.5, 2.8)
    drawing.paint(overlap(body, ribbing), 0.75 + 0.12 * np.sin(3 * drawing.x))


def draw_dress(drawing: Drawing) -> None:
    """Narrow shoulders, a high waist and a pleated skirt; some with a belt."""
    x, y, vary = drawing.x, drawing.y, drawing.vary
    body, waist, _ = draw_top(drawing, DRESS)
    pleats = np.sin(vary(8, 20) * x / (y - waist + 20))
    drawing.paint(overlap(body - 1, y - waist), 0.88 + 0.12 * pleats, vary(0, 1))
    belt = overlap(body, vary(0.3, 1.0) - np.abs(y - waist))
    drawing.paint(belt, drawing.accent(), drawing.some(0.5))


def draw_coat(drawing: Drawing) -> None:
    """Lapels and a front that may be open; some with two rows of buttons, some with pockets."""
    x, y, vary = drawing.x, drawing.y, drawing.vary
    body, _, _ = draw_top(drawing, COAT)
    side = np.abs(x - vary(-0.6, 0.6))
    opening = np.maximum(0.4, profile(y, (-6.0, 0.0), (13.0, vary(-2.0, 2.5))))
    drawing.paint(overlap(body, below(side, opening)), 0.05)
    button = 0.7 - radius(side - vary(1.6, 2.2), to_multiple(y - vary(-2, 2), vary(3.5, 5)))
    drawing.paint(overlap(button, y + 3, 9 - y), vary(0.2, 0.5), drawing.some(0.5))
    pocket = overlap(0.6 - np.abs(y - vary(2, 6)), 1.4 - np.abs(side - 3.5))
    drawing.paint(pocket, 0.35, drawing.some(0.6))


def draw_shirt(drawing: Drawing) -> None:
    """A collar, a placket with buttons, and a hem with tails."""
    x, y, vary = drawing.x, drawing.y, drawing.vary
    body, _, _ = draw_top(drawing, SHIRT)
    side = np.abs(x)
    drawing.drape(overlap(body, vary(0.9, 1.4) - side), 1.4)
    buttons = 0.55 - radius(x, to_multiple(y - vary(0, 3), vary(3, 4)))
    drawing.paint(overlap(body - 1, buttons), vary(0.1, 0.5))
    collar = limb(side - 3, y - TOP - 0.2, vary(-0.8, -0.6), vary(3.2, 4.5), (1.1, 1.4))
    drawing.paint(collar + 0.8, 0.35)
    drawing.drape(collar, 1.25)


# --- trousers and bags ----------------------------------------------------------------------------


def draw_trouser(drawing: Drawing) -> None:
    """Two legs, a waistband and a fly; some with creases."""
    x, y, vary = drawing.x, drawing.y, drawing.vary
    side = np.abs(x)
    hem, crotch = TOP + vary(25, 27), TOP + vary(7, 9.5)
    hip, ankle = vary(4.2, 6.2), vary(3.4, 6.4)
    outer = profile(y, (TOP, hip - vary(0.3, 1.2)), (crotch, hip), (hem, ankle))
    inner = profile(y, (crotch - 2, -1.5), (crotch + 2, 0.2), (hem, ankle - vary(2.2, 3.8)))
    legs = overlap(below(side, outer), -below(side, inner), y - TOP, hem - y)
    drawing.drape(legs)
    crease = overlap(0.4 - np.abs(side - (outer + inner) / 2), y - crotch)
    drawing.paint(crease, vary(0.7, 1.3), drawing.some(0.5))
    drawing.paint(overlap(0.4 - side, crotch - y, y - TOP), 0.6)
    drawing.paint(overlap(legs, 0.4 - np.abs(y - TOP - 1.8)), 0.5, vary(0, 1))


def draw_bag(drawing: Drawing) -> None:
    """A box, most with a handle, some with a clasp; a flap or, on some of the others, a pocket."""
    x, y, vary = drawing.x, drawing.y, drawing.vary
    side = np.abs(x)
    width, bottom = vary(8.5, 13.0), vary(11.5, 13.0)
    top = bottom - vary(11, 18)
    reach = np.minimum(top - TOP, vary(4, 16))
    ring = ellipse(x, y - top - 0.5, width * vary(0.35, 0.8), reach)
    handle = overlap(vary(0.5, 1.0) - np.abs(ring), top + 1 - y)
    drawing.drape(handle, vary(0.7, 1.3), drawing.some(0.85))
    outline = profile(y, (top, width - vary(-0.5, 3)), (bottom, width))
    bag = rounded(below(side, outline), overlap(y - top, bottom - y), vary(0.5, 3.5))
    drawing.drape(bag)

    flapped = drawing.some(0.5)
    flap = top + vary(3, 9) * (1 - vary(0, 0.6) * (x / width) ** 2)
    drawing.paint(overlap(bag, 0.8 - np.abs(y - flap)), 0.45, flapped)
    pocket = rounded(width * vary(0.4, 0.7) - side, overlap(y - top - 5, bottom - 2 - y), 1.0)
    drawing.drape(pocket, vary(0.8, 1.15), (1 - flapped) * drawing.some(0.6))
    drawing.paint(overlap(bag, 0.6 - np.abs(y - top - 1.5)), 0.5, 1 - flapped)
    clasp = rounded(vary(0.7, 1.5) - side, vary(0.7, 1.2) - np.abs(y - flap), 0.5)
    drawing.paint(clasp, drawing.accent(), drawing.some(0.7))


# --- shoes: seen from the side, toes to the left --------------------------------------------------


def draw_shoe(drawing: Drawing, tall: Field, throat: Field, dip: Field, heel: Field) -> Field:
    """Draws a closed shoe with laces, and returns its shape.

    Args:
      drawing: the drawing.
      tall: height of the opening above the ground.
      throat: x at which the opening begins.
      dip: how much lower the opening is in its middle.
      heel: height of the underside of the sole at the heel.
    """
    x, y, vary = drawing.x, drawing.y, drawing.vary
    height = tall / 2 - y  # above the ground
    toe = vary(4.2, 5.6)
    sole = profile(x, (TOE, vary(0.4, 1.6)), (-8.0, 0.0), (-5.0, 0.0), (6.0, heel))
    vamp = (TOE, toe - 1.5), (-11.5, toe), (vary(-7, -4), toe + vary(0.3, 2.0))
    tongue = (throat - 2, tall - vary(1.5, 3)), (throat, tall - vary(0, 0.5))
    top = profile(x, *vamp, *tongue, (8.0, tall - dip), (12.0, tall - vary(-0.2, 1)))
    ankle = HEEL - vary(0.3, 1.8)
    back = profile(
        y, (-tall / 2, HEEL - vary(0, 2)), (-0.05 * tall, ankle), (tall / 2 - heel, HEEL)
    )
    depth = below(height, top)  # below the upper edge
    shoe = rounded(depth, overlap(-below(height, sole), x - TOE, below(x, back)), 1.5)
    drawing.drape(shoe)

    drawing.drape(overlap(shoe, x - vary(7, 10)), vary(0.5, 1.3), drawing.some(0.4))
    laces = overlap(0.5 - to_multiple((x + height) / 1.4, vary(1.7, 2.2)), 3.2 - depth, depth - 0.8)
    drawing.paint(overlap(laces, shoe, throat - x, x + 6), drawing.accent(), drawing.some(0.65))
    drawing.paint(overlap(shoe, 1.3 - depth, x - throat - 1), vary(0.25, 1.0))
    tread = below(height, sole) + vary(1.2, 2.8)
    drawing.paint(overlap(shoe, tread + 0.7), 0.35)
    drawing.paint(overlap(shoe, tread), vary(0.4, 1.5))
    return shoe


def draw_sneaker(drawing: Drawing) -> None:
    """A low shoe; some with bars or a swoosh on the side."""
    x, y, vary = drawing.x, drawing.y, drawing.vary
    shoe = draw_shoe(drawing, vary(10, 14), vary(-0.5, 2.5), vary(1.0, 3.5), vary(0, 0.3))
    bars = overlap(0.7 - to_multiple(x + y * vary(-0.7, 0.7), 2.4), 3 - np.abs(x - vary(-1, 3)))
    drawing.paint(overlap(bars, shoe - 1.2, 2 - y), drawing.accent(), drawing.some(0.4))
    swoosh = limb(
        x - 8, vary(-0.5, 1) - y, vary(-1.65, -1.45), vary(8, 13), (vary(1, 1.8), 0.2), vary(-2, 1)
    )
    drawing.paint(overlap(swoosh, shoe), drawing.accent(), drawing.some(0.4))


def draw_ankle_boot(drawing: Drawing) -> None:
    """A shoe above the ankle, some with a high heel, some with an elastic panel."""
    x, y, vary = drawing.x, drawing.y, drawing.vary
    tall = vary(18, 26)
    heel = vary(1.5, 2.5) + drawing.some(0.4) * vary(2, 4.5)
    block = limb(
        x - 10.5, y + heel + 1 - tall / 2, vary(-0.05, 0.1), heel + 1, (2.3, vary(1.0, 2.6))
    )
    drawing.drape(block, 0.6)
    boot = draw_shoe(drawing, tall, vary(1.5, 4.5), vary(-0.3, 1.5), heel)
    panel = rounded(2.0 - np.abs(x - 7), overlap(boot - 1, 0.1 * tall - y), 1.5)
    drawing.paint(panel, vary(0.4, 0.8), drawing.some(0.35))


def draw_sandal(drawing: Drawing) -> None:
    """Straps with gaps between them, on a flat sole, a wedge or a heel."""
    x, y, vary = drawing.x, drawing.y, drawing.vary
    heel = vary(0.3, 1.5) + drawing.some(0.5) * vary(3, 9)
    rise = vary(9, 12)  # height of the ankle strap above the heel
    ground = (heel + rise) / 2 - y  # height above the ground
    height = ground - profile(x, (-6.0, 0.0), (8.0, heel))  # above the underside of the sole
    wedged = drawing.some(0.3)
    spike = limb(x - 11, heel + 1 - ground, vary(-0.1, 0.1), heel + 1, (1.7, vary(0.5, 2.0)))
    drawing.drape(spike, 0.9, 1 - wedged)
    drawing.drape(overlap(ground, 0.5 - height, x + 7, HEEL - x), 0.7, wedged)

    instep = profile(x, (TOE, 2.0), (-9.5, vary(4.5, 6)), (0.0, vary(6.5, 8)), (6.0, rise))
    depth = instep - height
    straps = vary(1.0, 1.8) - to_multiple(x + vary(-0.3, 0.8) * height - vary(-3, 3), vary(4.5, 7))
    straps = np.maximum(straps, vary(-1, 1.2) - depth)  # some straps are joined by a rim
    ankle = np.maximum(vary(0.8, 1.4) - np.abs(depth - 1.5), x - HEEL + vary(1.5, 3))
    straps = np.where(x < vary(1, 5), straps, ankle)
    ends = overlap(height, x - TOE, HEEL - x)
    drawing.drape(overlap(straps, depth, ends), 1.15)
    drawing.paint(overlap(vary(1.2, 2.8) - height, ends), vary(0.6, 1.1))


# A function that draws a garment, and the fabrics to draw from; a repeated fabric is more frequent.
Garment = tuple[Callable[[Drawing], None], tuple[str, ...]]

# The classes in the order of Fashion-MNIST's labels.
GARMENTS: dict[str, Garment] = {
    "T-shirt/top": (draw_t_shirt, ("plain", "plain", "plain", "hooped", "tweed", "floral")),
    "Trouser": (draw_trouser, ("plain", "plain", "plain", "tweed", "striped")),
    "Pullover": (draw_pullover, ("plain", "knit", "knit", "hooped", "tweed")),
    "Dress": (draw_dress, ("plain", "plain", "plain", "floral", "striped", "hooped")),
    "Coat": (draw_coat, ("plain", "plain", "plain", "tweed", "checked")),
    "Sandal": (draw_sandal, ("plain",)),
    "Shirt": (draw_shirt, ("plain", "plain", "checked", "checked", "striped", "floral")),
    "Sneaker": (draw_sneaker, ("plain", "plain", "plain", "tweed")),
    "Bag": (draw_bag, ("plain", "plain", "plain", "tweed", "hooped", "checked", "floral")),
    "Ankle boot": (draw_ankle_boot, ("plain", "plain", "plain", "tweed")),
}
CLASS_NAMES: tuple[str, ...] = tuple(GARMENTS)
