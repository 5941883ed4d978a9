"""Contact sheets: every picture is where it belongs, and no words leave their room."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hiper.sheet import EMPTY, PAPER, contact_sheet, font, wrap

RED, GREEN, BLUE = (255, 0, 0), (0, 128, 0), (0, 0, 255)


def plain(colour, size=(8, 8)):
    return Image.new("RGB", size, colour)


def colours(sheet):
    """Names of the pictures' colours, in reading order."""
    pixels, found = sheet.load(), []
    for y in range(sheet.height):
        for x in range(sheet.width):
            colour = pixels[x, y]
            if colour in (RED, GREEN, BLUE) and colour not in found:
                found.append(colour)
    return found


def box(sheet, colour):
    """The rectangle that a colour fills, and whether it fills all of it."""
    mask = Image.new("L", sheet.size)
    mask.putdata([255 * (pixel == colour) for pixel in sheet.get_flattened_data()])
    return mask.getbbox(), mask.crop(mask.getbbox()).getextrema() == (255, 255)


def test_pictures_fill_their_squares_in_order():
    sheet = contact_sheet([[plain(RED), plain(GREEN)], [plain(BLUE)]], cell=40)
    assert colours(sheet) == [RED, GREEN, BLUE]
    (left, top, right, bottom), whole = box(sheet, RED)
    assert whole and (right - left, bottom - top) == (40, 40)
    (below_left, below_top, *_), _ = box(sheet, BLUE)
    assert below_left == left and below_top == bottom + 10


def test_pictures_keep_their_proportions():
    (left, top, right, bottom), whole = box(contact_sheet([[plain(RED, (20, 10))]], cell=40), RED)
    assert whole and (right - left, bottom - top) == (40, 20)


def test_an_empty_place_is_drawn_as_one():
    sheet = contact_sheet([[plain(RED), None]], cell=40)
    assert box(sheet, tuple(bytes.fromhex(EMPTY[1:])))[1]


@pytest.mark.parametrize(
    ("labels", "larger"),
    [
        ({"columns": ["source", "edit"]}, (0, 1)),
        ({"rows": ["a dog"]}, (1, 0)),
        ({"captions": [["seed 0"]]}, (0, 1)),
        ({"title": "t"}, (0, 1)),
    ],
    ids=["columns", "rows", "captions", "title"],
)
def test_labels_take_room_of_their_own(labels, larger):
    bare, labelled = (contact_sheet([[plain(RED), plain(BLUE)]], cell=80, **words) for words in ({}, labels))
    assert (labelled.width > bare.width, labelled.height > bare.height) == tuple(map(bool, larger))
    for colour in (RED, BLUE):
        assert box(labelled, colour)[1], "words lie on a picture"


def test_the_margin_stays_free():
    words = "a very long prompt " * 20
    sheet = contact_sheet([[plain(RED)]], rows=[words], columns=[words], captions=[[words]], title=words, cell=80)
    for side in ((0, 0, sheet.width, 20), (0, 0, 20, sheet.height), (sheet.width - 20, 0, sheet.width, sheet.height)):
        assert {colour for _, colour in sheet.crop(side).getcolors()} == {tuple(bytes.fromhex(PAPER[1:]))}


def test_no_picture_is_an_error():
    with pytest.raises(ValueError, match="at least one picture"):
        contact_sheet([[]])


@given(st.text(max_size=80), st.integers(20, 300))
def test_wrapped_lines_fit(text, width):
    typeface = font(14)
    lines = wrap(text, width, typeface)
    assert 1 <= len(lines) <= 3
    assert all(typeface.getlength(line) <= width or line == "…" for line in lines)
    if not any(line.endswith("…") for line in lines):
        assert " ".join(lines).split() == text.split()


def test_words_that_do_not_fit_end_in_an_ellipsis():
    assert wrap("one two three four", 40, font(14), max_lines=2) == ["one", "two…"]
    assert wrap("incomprehensibilities", 60, font(14))[0].endswith("…")
