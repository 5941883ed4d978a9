"""Draw one animal with skia, in its own coordinates: x to the right (the way it looks), y down, ground at y = 0.

The unit is the animal's height when it stands. A pose is a handful of points; species differ in head, ears and tail.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import skia

from hiper.menagerie.world import Colour, Identity

Point = tuple[float, float]
Leg = tuple[Point, Point]

PAPER = skia.Color4f(0.96, 0.95, 0.92, 1.0)
OUTLINE = 0.022


@dataclass(frozen=True)
class Pose:
    """Where the parts of a body are; a leg runs from the body to the paw, the far one of a pair comes first."""

    rump: Point
    chest: Point
    head: Point
    hind_legs: tuple[Leg, Leg]
    front_legs: tuple[Leg, Leg]
    tail_angle: float
    haunch: Point | None = None


@dataclass(frozen=True)
class Build:
    """How a species is built: radii of rump, chest and head, and the width of a leg."""

    rump: float
    chest: float
    head: float
    leg: float
    tail_length: float
    tail_width: float


BUILDS = {
    "dog": Build(0.155, 0.165, 0.220, 0.078, 0.30, 0.070),
    "cat": Build(0.140, 0.140, 0.215, 0.065, 0.36, 0.065),
    "rabbit": Build(0.190, 0.145, 0.195, 0.074, 0.06, 0.150),
    "bear": Build(0.210, 0.205, 0.240, 0.105, 0.05, 0.090),
}


def pose_points(pose: str, leg: float) -> Pose:
    """The skeleton of a pose for legs of length `leg` (about 0.3)."""
    if pose == "standing":
        y = -leg - 0.10
        return Pose(
            rump=(-0.24, y),
            chest=(0.17, y - 0.03),
            head=(0.34, y - 0.27),
            hind_legs=(((-0.27, y), (-0.28, -0.03)), ((-0.18, y), (-0.17, -0.03))),
            front_legs=(((0.14, y), (0.13, -0.03)), ((0.23, y), (0.24, -0.03))),
            tail_angle=-2.4,
        )
    if pose == "sitting":
        y = -leg - 0.16
        return Pose(
            rump=(-0.14, -0.17),
            chest=(0.10, y),
            head=(0.17, y - 0.26),
            hind_legs=(((-0.10, -0.12), (0.10, -0.03)), ((-0.12, -0.12), (0.05, -0.03))),
            front_legs=(((0.10, y), (0.19, -0.03)), ((0.16, y), (0.27, -0.03))),
            tail_angle=-2.75,
            haunch=(-0.12, -0.15),
        )
    if pose == "lying":
        return Pose(
            rump=(-0.30, -0.14),
            chest=(0.12, -0.15),
            head=(0.33, -0.30),
            hind_legs=(((-0.26, -0.06), (-0.06, -0.035)), ((-0.30, -0.06), (-0.12, -0.035))),
            front_legs=(((0.14, -0.07), (0.14 + leg, -0.035)), ((0.18, -0.07), (0.22 + leg, -0.035))),
            tail_angle=-2.85,
            haunch=(-0.29, -0.13),
        )
    return Pose(
        rump=(-0.22, -0.34),
        chest=(0.13, -0.50),
        head=(0.28, -0.70),
        hind_legs=(
            ((-0.24, -0.32), (-0.32 - 0.4 * leg, -0.22 + 0.2 * leg)),
            ((-0.20, -0.30), (-0.24 - 0.35 * leg, -0.14 + 0.25 * leg)),
        ),
        front_legs=(
            ((0.15, -0.46), (0.28 + 0.45 * leg, -0.40)),
            ((0.18, -0.44), (0.24 + 0.45 * leg, -0.31)),
        ),
        tail_angle=-2.75,
    )


class AnimalPainter:
    """Draws one identity as one species in one pose on a skia canvas whose units are the animal's."""

    def __init__(self, canvas: skia.Canvas, identity: Identity, species: str, *, pencil: bool = False) -> None:
        self.canvas = canvas
        self.identity = identity
        self.species = species
        self.build = BUILDS[species]
        self.pencil = pencil
        self.stroke = OUTLINE

    def draw(self, pose_name: str) -> None:
        """Draw from back to front: far legs, tail, body with its marks, near legs, head."""
        pose = pose_points(pose_name, 0.30 * self.identity.leg_length)
        self._leg(pose.hind_legs[0], far=True)
        self._leg(pose.front_legs[0], far=True)
        self._tail(pose)
        self._body(pose)
        self._leg(pose.front_legs[1])
        self._hind_leg(pose)
        if self.identity.collar:
            self._collar(pose)
        self._head(pose.head)

    def _paint(self, colour: Colour, shade: float = 1.0) -> skia.Paint:
        red, green, blue = (min(1.0, channel * shade) for channel in colour)
        alpha = 0.45 if self.pencil else 1.0
        return skia.Paint(Color4f=skia.Color4f(red, green, blue, alpha), AntiAlias=True)

    def _outline(self, colour: Colour) -> skia.Paint:
        paint = skia.Paint(AntiAlias=True, Style=skia.Paint.kStroke_Style, StrokeWidth=self.stroke)
        tone = (0.2, 0.2, 0.22) if self.pencil else tuple(0.5 * channel for channel in colour)
        paint.setColor4f(skia.Color4f(*tone, 1.0))
        return paint

    def _fill(self, path: skia.Path, colour: Colour, shade: float = 1.0) -> None:
        if self.pencil:
            self.canvas.drawPath(path, skia.Paint(Color4f=PAPER, AntiAlias=True))
        self.canvas.drawPath(path, self._paint(colour, shade))

    def _shape(self, path: skia.Path, colour: Colour, shade: float = 1.0) -> None:
        self._fill(path, colour, shade)
        self.canvas.drawPath(path, self._outline(colour))

    def _mark(self, shape: skia.Path, mark: skia.Path, shade: float = 1.0) -> None:
        """Paint what of a mark lies on a shape."""
        self.canvas.save()
        self.canvas.clipPath(shape, True)
        self.canvas.drawPath(mark, self._paint(self.identity.marks, shade))
        self.canvas.restore()

    def _leg(self, joints: Leg, far: bool = False) -> None:
        body, paw = joints
        width = self.build.leg * (0.6 + 0.4 * self.identity.girth)
        shade = 0.82 if far else 1.0
        leg = capsule(body, paw, width, 0.85 * width)
        self._shape(leg, self.identity.coat, shade)
        if self.identity.socks:
            self._mark(leg, disc(paw, 1.25 * width), shade)

    def _hind_leg(self, pose: Pose) -> None:
        self._leg(pose.hind_legs[1])
        if pose.haunch:
            radius = 0.80 * self.build.rump * self.identity.girth
            self._shape(disc((pose.haunch[0] + 0.03, -0.02 - radius), radius), self.identity.coat)

    def _tail(self, pose: Pose) -> None:
        length, width = self.build.tail_length * self.identity.tail_length, self.build.tail_width
        base = offset(pose.rump, pose.tail_angle, 0.8 * self.build.rump * self.identity.girth)
        bend = offset(base, pose.tail_angle, 0.6 * length)
        end = offset(bend, pose.tail_angle - math.copysign(0.7, pose.tail_angle), 0.5 * length)
        end = (end[0], min(end[1], -0.05))
        path = skia.Path()
        path.moveTo(*base)
        path.quadTo(*bend, *end)
        outline = skia.Paint(AntiAlias=True, Style=skia.Paint.kStroke_Style, StrokeWidth=width)
        outline.setStrokeCap(skia.Paint.kRound_Cap)
        tail = skia.Path()
        outline.getFillPath(path, tail)
        self._shape(tail, self.identity.coat, 0.95)
        if self.identity.tail_tip:
            self._mark(tail, disc(end, 0.45 * length + 0.3 * width))

    def _body(self, pose: Pose) -> None:
        rump, chest = self.build.rump * self.identity.girth, self.build.chest * self.identity.girth
        body = capsule(pose.rump, pose.chest, rump, chest)
        self._shape(body, self.identity.coat)
        self.canvas.save()
        self.canvas.clipPath(body, True)
        if self.identity.belly:
            self._belly(pose, 0.5 * (rump + chest))
        self._marks(pose, rump, chest)
        self.canvas.restore()
        self.canvas.drawPath(body, self._outline(self.identity.coat))

    def _belly(self, pose: Pose, radius: float) -> None:
        pale: Colour = tuple(0.35 * channel + 0.62 for channel in self.identity.coat)  # type: ignore[assignment]
        across = direction(pose.rump, pose.chest) + math.pi / 2
        start, end = offset(pose.rump, across, 0.75 * radius), offset(pose.chest, across, 0.75 * radius)
        self.canvas.drawPath(capsule(start, end, 0.55 * radius, 0.55 * radius), self._paint(pale))

    def _marks(self, pose: Pose, rump: float, chest: float) -> None:
        """Spots, stripes or a saddle patch, placed relative to the body so that they move with it."""
        paint, along = self._paint(self.identity.marks), direction(pose.rump, pose.chest)
        reach = math.dist(pose.rump, pose.chest) + 0.5 * (rump + chest)
        start = offset(pose.rump, along, -0.5 * rump)
        if self.identity.pattern == "patch":
            along_body, across, size = self.identity.spots[0]
            centre = offset(start, along, reach * (0.2 + 0.6 * along_body))
            centre = offset(centre, along - math.pi / 2, rump * (0.2 + 0.5 * across))
            self.canvas.drawPath(disc(centre, rump * (0.65 + 0.35 * size)), paint)
        elif self.identity.pattern == "spots":
            for index, (u, v, size) in enumerate(self.identity.spots):
                centre = offset(start, along, reach * (index + 0.2 + 0.6 * u) / len(self.identity.spots))
                centre = offset(centre, along - math.pi / 2, rump * (1.3 * v - 0.5))
                self.canvas.drawPath(disc(centre, rump * (0.22 + 0.16 * size)), paint)
        elif self.identity.pattern == "stripes":
            count = 3 + round(2 * self.identity.spots[0][0])
            width = 0.026 + 0.02 * self.identity.spots[1][0]
            for index in range(count):
                top = offset(start, along, reach * (index + 0.5) / count)
                up, down = offset(top, along - 1.35, 1.3 * rump), offset(top, along + math.pi / 2, 0.25 * rump)
                self.canvas.drawPath(capsule(up, down, width, 0.6 * width), paint)

    def _collar(self, pose: Pose) -> None:
        assert self.identity.collar is not None
        along = direction(pose.chest, pose.head)
        neck = offset(pose.chest, along, 0.40 * math.dist(pose.chest, pose.head))
        reach = 0.80 * self.build.chest * (0.5 + 0.5 * self.identity.girth)
        throat = capsule(pose.chest, pose.head, 0.95 * reach, 0.95 * reach)
        self._fill(throat, self.identity.coat)
        across = along + math.pi / 2
        self._shape(
            capsule(offset(neck, across, reach), offset(neck, across, -reach), 0.055, 0.055), self.identity.collar
        )

    def _head(self, centre: Point) -> None:
        radius = self.build.head * self.identity.head_size
        self.canvas.save()
        self.canvas.translate(*centre)
        self.canvas.scale(radius, radius)
        self.stroke = OUTLINE / radius
        self._ears()
        skull = ellipse((0.0, 0.0), 1.0, 0.92)
        self._shape(skull, self.identity.coat)
        if self.identity.blaze:
            self._mark(skull, ellipse((0.18, -0.45), 0.2, 0.7))
        self._face()
        self.canvas.restore()
        self.stroke = OUTLINE

    def _ears(self) -> None:
        length, tilt = self.identity.ear_length, 0.25 * self.identity.ear_tilt
        for side in (-1.0, 1.0):
            self.canvas.save()
            self.canvas.translate(0.58 * side, -0.55)
            ear, inner = EARS[self.species](side, length)
            self.canvas.rotate(math.degrees(side * tilt))
            self._shape(ear, self.identity.coat, 0.8 if self.species == "dog" else 0.95)
            if inner:
                self.canvas.drawPath(inner, self._paint((0.93, 0.66, 0.66)))
            self.canvas.restore()

    def _face(self) -> None:
        muzzle = self.identity.muzzle
        pale: Colour = tuple(0.45 * channel + 0.5 for channel in self.identity.coat)  # type: ignore[assignment]
        dark: Colour = (0.12, 0.10, 0.12)
        size = {"dog": (0.52, 0.40), "cat": (0.34, 0.24), "rabbit": (0.30, 0.26), "bear": (0.50, 0.42)}[self.species]
        self.canvas.drawPath(ellipse((0.30, 0.38), size[0] * muzzle, size[1] * muzzle), self._paint(pale))
        nose = {"dog": 0.17, "cat": 0.10, "rabbit": 0.09, "bear": 0.19}[self.species]
        tone = dark if self.species in ("dog", "bear") else (0.90, 0.45, 0.50)
        self.canvas.drawPath(ellipse((0.36, 0.26), nose * 1.2, nose), self._paint(tone))
        for x in (-0.22, 0.62):
            eye = 0.17 * self.identity.eye_size
            self.canvas.drawPath(ellipse((x, -0.12), eye, 1.15 * eye), self._paint((0.98, 0.98, 0.98)))
            self.canvas.drawPath(ellipse((x + 0.03, -0.10), 0.78 * eye, 0.9 * eye), self._paint(self.identity.eyes))
            self.canvas.drawPath(disc((x + 0.05, -0.10), 0.42 * eye), self._paint(dark))


def _floppy_ear(side: float, length: float) -> tuple[skia.Path, skia.Path | None]:
    return ellipse((0.30 * side, 0.42 * length), 0.26, 0.62 * length), None


def _pointed_ear(side: float, length: float) -> tuple[skia.Path, skia.Path | None]:
    tip = (0.12 * side, -0.75 * length)
    inner_tip = (0.10 * side, -0.5 * length)
    return triangle((-0.38, 0.15), tip, (0.38, 0.15)), triangle((-0.18, 0.05), inner_tip, (0.18, 0.05))


def _long_ear(side: float, length: float) -> tuple[skia.Path, skia.Path | None]:
    centre = (-0.12 * side, -0.75 * length)
    return ellipse(centre, 0.24, 0.85 * length), ellipse(centre, 0.12, 0.62 * length)


def _round_ear(side: float, length: float) -> tuple[skia.Path, skia.Path | None]:
    radius = 0.34 * (0.4 + 0.6 * length)
    return disc((0.08 * side, -0.08), radius), disc((0.08 * side, -0.08), 0.55 * radius)


EARS = {"dog": _floppy_ear, "cat": _pointed_ear, "rabbit": _long_ear, "bear": _round_ear}


def disc(centre: Point, radius: float) -> skia.Path:
    """A filled circle."""
    return ellipse(centre, radius, radius)


def ellipse(centre: Point, width: float, height: float) -> skia.Path:
    """An ellipse by its half axes."""
    path = skia.Path()
    path.addOval(skia.Rect(centre[0] - width, centre[1] - height, centre[0] + width, centre[1] + height))
    return path


def triangle(*corners: Point) -> skia.Path:
    """A closed triangle."""
    path = skia.Path()
    path.addPoly([skia.Point(*corner) for corner in corners], True)
    return path


def capsule(start: Point, end: Point, start_radius: float, end_radius: float) -> skia.Path:
    """The hull of two circles: limbs and bodies."""
    length = math.dist(start, end)
    if length <= abs(start_radius - end_radius):
        return disc(start, start_radius) if start_radius > end_radius else disc(end, end_radius)
    along = direction(start, end)
    spread = math.acos((start_radius - end_radius) / length)
    hull = skia.Path()
    corners = [
        offset(start, along + spread, start_radius),
        offset(end, along + spread, end_radius),
        offset(end, along - spread, end_radius),
        offset(start, along - spread, start_radius),
    ]
    hull.addPoly([skia.Point(*corner) for corner in corners], True)
    for part in (disc(start, start_radius), disc(end, end_radius)):
        hull = skia.Op(hull, part, skia.PathOp.kUnion_PathOp)
    return hull


def direction(start: Point, end: Point) -> float:
    """The angle from `start` to `end` in radians, clockwise since y points down."""
    return math.atan2(end[1] - start[1], end[0] - start[0])


def offset(point: Point, angle: float, distance: float) -> Point:
    """The point at `distance` from `point` in the direction `angle`."""
    return (point[0] + distance * math.cos(angle), point[1] + distance * math.sin(angle))
