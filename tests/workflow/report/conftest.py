import json
import os
import shutil

import pytest

from diffana.workflow.report import report
from fabricated import CHECKS, copied


@pytest.fixture(scope="session")
def checked(finished, tmp_path_factory):
    """A finished run with stored safety checks."""
    folder = shutil.copytree(finished, tmp_path_factory.mktemp("checked") / "run")
    (folder / "checks.json").write_text(json.dumps({"checks": CHECKS}))
    return folder


@pytest.fixture(scope="session")
def others(checked, tmp_path_factory):
    """Two more seeds of the same settings, and the baseline with as many."""
    parent = tmp_path_factory.mktemp("others")
    return [
        copied(checked, parent / "seed_4", seed=4, factor=1.2),
        copied(checked, parent / "seed_5", seed=5, factor=0.9),
        copied(checked, parent / "bce_3", seed=3, loss="bce", factor=2.0),
        copied(checked, parent / "bce_4", seed=4, loss="bce", factor=2.5),
    ]


@pytest.fixture(scope="session")
def written(compiled, checked, others):
    """The report of a run on generated events, beside others."""
    return report(checked, others)


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Headless Chromium; without one the test is skipped, unless it is required."""
    required = os.environ.get("DIFFANA_BROWSER") == "required"
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        missing = "chromium" if binary is None else "chromedriver"
        if required:
            pytest.fail(f"DIFFANA_BROWSER=required, but there is no {missing}")
        pytest.skip(f"there is no {missing}, in which the page could be opened")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(argument)
    logs = {"browser": "ALL", "performance": "ALL"}
    options.set_capability("goog:loggingPrefs", logs)
    running = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield running
    running.quit()
