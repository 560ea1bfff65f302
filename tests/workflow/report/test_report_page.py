"""Text, tables and figures as HTML."""

import html
import re

import numpy as np
import pytest

from diffana.workflow.report import page, pictures
from diffana.workflow.report.document import (
    Document,
    Folded,
    Heading,
    Missing,
    Noted,
    Pictures,
    Section,
    Source,
    Table,
    Text,
    Warned,
    counted,
    listed,
    measured,
    number,
)


NASTY = "<script>alert('x')</script> & \"$x$\" </td></pre>"


def rendered(*blocks, title="title", notices=()):
    section = Section("one", "One", blocks)
    return page.html(Document(title, "subtitle", notices, [section]))


def test_every_text_is_escaped():
    blocks = [
        Text(NASTY),
        Missing(NASTY),
        Warned(NASTY),
        Noted(NASTY),
        Heading(NASTY),
        Source(NASTY),
        Table(NASTY, (NASTY, "b"), [(NASTY, NASTY)]),
        Folded(NASTY, [Text(NASTY)]),
    ]
    text = rendered(*blocks, title=NASTY, notices=[Warned(NASTY)])
    assert "<script" not in text
    assert "</pre>" in text.replace(html.escape("</pre>"), "")
    # Title of the window and of the page, one notice, seven blocks; the table has it
    # in its caption, label, a heading and two cells, what is folded twice.
    assert html.unescape(text).count(NASTY) == 2 + 1 + 6 + 5 + 2


def test_rows_are_marked():
    table = Table("", ("a", "b"), [("x", "1"), ("y", "2")], frozenset({1}))
    assert re.search(r'<tr class="sum"><th scope="row">y</th>', rendered(table))
    table = Table("", ("", ""), [("x", "warn")], left=2, marked=((0, "warn"),))
    text = rendered(table)
    assert '<tr class="warn"><th scope="row">x</th><td class="words">warn</td>' in text
    assert "<thead>" not in text


# Figures


def curve(figure):
    figure.subplots().plot([0, 1], [0, 1], label="<&>")


def test_a_drawing_is_inline_and_shares_no_identifier():
    first, second = (
        pictures.picture(key, curve, alternative='a "line" <1>', caption="c").markup
        for key in ("one", "two")
    )
    label = re.search(r'^<svg role="img" aria-label="([^"]*)"', first)[1]
    assert html.unescape(label) == 'a "line" <1>'
    ids = [set(re.findall(r'\bid="([^"]*)"', text)) for text in (first, second)]
    assert ids[0]
    assert not ids[0] & ids[1]
    for text, known in zip((first, second), ids, strict=True):
        used = re.findall(r'(?:href="#|url\(#)([^")]*)', text)
        assert used
        assert set(used) <= known
        assert "http" not in text
        assert "<style" not in text


def test_the_same_figure_gives_the_same_bytes():
    again = [
        pictures.picture("one", curve, alternative="a", caption="c") for _ in range(2)
    ]
    assert again[0] == again[1]


def test_a_huge_drawing_becomes_an_image(monkeypatch):
    monkeypatch.setattr(pictures, "LARGEST_DRAWING", 1000)
    found = pictures.picture("one", curve, alternative="<a>", caption="c").markup
    assert found.startswith('<img src="data:image/png;base64,iVBOR')
    assert 'alt="&lt;a&gt;"' in found


def test_pictures_are_the_only_markup():
    found = pictures.picture("one", curve, alternative="a", caption=NASTY)
    text = rendered(Pictures([found]))
    assert found.markup in text
    assert "<script" not in text


# Numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456, "0.1235"),
        (-2.0, "−2"),
        (1e-9, "1e−09"),
        (np.nan, "undefined"),
        (np.inf, "∞"),
        (-np.inf, "−∞"),
    ],
)
def test_numbers_as_text(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "uncertainty", "text"),
    [
        (113.04, 11.6, "113 ± 12"),
        (20.04, 2.16, "20.0 ± 2.2"),
        (-0.5, 0.123, "−0.50 ± 0.12"),
        (12345.6, 678.9, "12346 ± 679"),
        (5.0, 0.0, "5"),
        (np.nan, 1.0, "undefined"),
    ],
)
def test_values_with_uncertainty_as_text(value, uncertainty, text):
    assert measured(value, uncertainty) == text


def test_words():
    assert listed(["a", "b"]) == "a, b"
    assert listed([*"abcdef"], most=4) == "a, b, c and 3 more"
    assert [counted(n, "file") for n in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
