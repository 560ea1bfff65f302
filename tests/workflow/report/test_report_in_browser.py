"""The page in headless Chromium."""

import pytest

from opened import faults, look


PHONE = 360


@pytest.mark.parametrize("width", [1200, PHONE])
def test_a_browser_finds_nothing_wrong(written, browser, width):
    found = look(browser, written.path, width=width)
    assert faults(found) == []
    # Training, two of the region, ranking, correlations, limit, comparison.
    assert found["drawings"] + found["images"] == 7


SPOILED = """<!DOCTYPE html><title>spoiled</title><body style="width: 5000px">
<a href="#nowhere">x</a><p id="a">nan</p><p id="a">Traceback</p>
<figure><svg width="1" height="1"></svg></figure>
<img src="missing.png"><img src="http://localhost:9/x.png">
<script>console.error("one"); fetch("http://localhost:9/y")</script></body>"""


def test_what_is_wrong_is_found(browser, tmp_path):
    """A page with every fault: none of the checks above can pass unseen."""
    path = tmp_path / "spoiled.html"
    path.write_text(SPOILED)
    found = look(browser, path)
    told = " ".join(faults(found))
    assert found["broken"] == 2
    assert {"http://localhost:9/x.png", "http://localhost:9/y"} <= set(
        found["requested"]
    )
    for fault in (
        "broken",
        "flat",
        "unnamed",
        "uncaptioned",
        "repeated: ['a']",
        "dangling: ['#nowhere']",
        "requested",
        "console",
        "scripts",
        "section summary is missing",
        "the text has 'nan'",
        "the text has 'Traceback'",
        "wider than the window",
    ):
        assert fault in told
