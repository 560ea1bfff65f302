"""What a browser finds wrong with a page."""

import json
import re


SECTIONS = (
    "summary",
    "inputs",
    "yields",
    "training",
    "regions",
    "composition",
    "nuisance",
    "correlations",
    "results",
    "comparison",
    "checks",
    "reproduce",
)

# Words that stand for a forgotten case.
_FORGOTTEN = re.compile(r"\b(nan|NaN|None|Traceback|Missing\(|inf)\b")

_LOOK = """
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const words = [];
while (walker.nextNode()) {
  const inside = walker.currentNode.parentElement;
  if (!inside.closest('pre, svg, style')) words.push(walker.currentNode.data);
}
const ids = [...document.querySelectorAll('[id]')].map(one => one.id);
const links = [...document.querySelectorAll('a')].map(one => one.getAttribute('href'));
const size = one => one.getBoundingClientRect();
return {
  broken: [...document.images].filter(i => !i.complete || !i.naturalWidth).length,
  images: document.images.length,
  drawings: document.querySelectorAll('figure svg').length,
  flat: [...document.querySelectorAll('figure svg')]
    .filter(one => !(size(one).width > 50 && size(one).height > 50)).length,
  unnamed: [...document.querySelectorAll('figure svg, img')]
    .filter(one => !(one.getAttribute('aria-label') || one.alt || '').trim()).length,
  uncaptioned: [...document.querySelectorAll('figure')]
    .filter(one => !one.querySelector('figcaption')?.textContent.trim()).length,
  repeated: ids.filter((id, at) => ids.indexOf(id) !== at),
  dangling: links.filter(one => !one.startsWith('#')
    || !document.getElementById(one.slice(1))),
  listed: links.map(one => one.slice(1)),
  sections: Object.fromEntries([...document.querySelectorAll('main section')].map(
    one => [one.id, [...one.children].slice(1).map(c => c.textContent.trim()).join('')]
  )),
  text: words.join(' '),
  loaded: performance.getEntriesByType('resource').map(one => one.name)
    .filter(name => !name.startsWith('data:')),
  scripts: document.scripts.length,
  wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
};
"""


def look(browser, path, *, width=1200):
    """What the page at `path` looks like in a window of `width` pixels."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(path.as_uri())
    opened = "document.querySelectorAll('details').forEach(one => one.open = true)"
    browser.execute_script(opened)
    found = browser.execute_script(_LOOK)
    found["console"] = [entry["message"] for entry in browser.get_log("browser")]
    found["requested"] = [
        url
        for url in map(_url, browser.get_log("performance"))
        if url and not url.startswith("data:") and url != path.as_uri()
    ]
    return found


def _url(entry):
    message = json.loads(entry["message"])["message"]
    if message["method"] != "Network.requestWillBeSent":
        return None
    return message["params"]["request"]["url"]


def faults(found):
    """Everything wrong with what `look` saw, in words."""
    wrong = [
        f"{name}: {found[name]}"
        for name in (
            "broken",
            "flat",
            "unnamed",
            "uncaptioned",
            "repeated",
            "dangling",
            "loaded",
            "requested",
            "console",
            "scripts",
        )
        if found[name]
    ]
    wrong += [
        f"section {name} is missing or empty"
        for name in SECTIONS
        if len(found["sections"].get(name, "")) < 20
    ]
    wrong += [
        f"section {n} is not listed" for n in SECTIONS if n not in found["listed"]
    ]
    wrong += [
        f"the text has {word!r}" for word in set(_FORGOTTEN.findall(found["text"]))
    ]
    if found["wide"] > 0:
        wrong.append(f"the page is {found['wide']} pixels wider than the window")
    return wrong
