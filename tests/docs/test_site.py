"""The built site: it builds without a warning, and every page opens offline without errors, dead links or requests."""

import json
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("furo", reason="the extra `docs` is not installed; `make docs` installs it")

ROOT = Path(__file__).parents[2]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
DRIVER = shutil.which("chromedriver")
OUTSIDE = (
    "https://arxiv.org/abs/",
    "https://avalanche.continualai.org",
    "https://ray.io",
    "https://github.com/pradyunsg/furo",  # the theme, in its footer
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, built from a copy of the pages."""
    folder = tmp_path_factory.mktemp("site")
    for name in ("docs", "benchmarks/results"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("recipes", "reference"))
    shutil.copy(ROOT / "CONTRIBUTING.md", folder)
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "docs", "site"]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder / "site"


class _Links(HTMLParser):
    """What a page links to or loads, and its anchors."""

    def __init__(self, page):
        super().__init__()
        self.links, self.loaded, self.ids = [], [], set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids.add(found.get("id", ""))
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag in ("script", "img", "iframe", "source") and "src" in found:
            self.loaded.append(found["src"])
        if tag == "link" and found.get("rel") != "canonical" and "href" in found:
            self.loaded.append(found["href"])


@pytest.fixture(scope="module")
def parsed(site):
    return {page: _Links(page) for page in sorted(site.rglob("*.html"))}


def test_no_link_is_dead_and_nothing_is_loaded_from_elsewhere(parsed):
    for page, found in parsed.items():
        for link in [*found.links, *found.loaded]:
            parts = urlsplit(link)
            if parts.scheme in ("http", "https"):
                assert link not in found.loaded, f"{page.name} loads {link}"
                assert link.startswith(OUTSIDE), f"{page.name} links to {link}"
                continue
            if parts.scheme in ("data", "mailto"):
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            assert target.is_file(), f"{page.name} links to {link}"
            if parts.fragment and target in parsed:
                assert unquote(parts.fragment) in parsed[target].ids, f"{page.name} links to {link}"


def test_every_public_name_and_every_recipe_has_its_place(parsed):
    import ckd
    from ckd import losses, objective
    from ckd.recipes import RECIPES

    names = {page.relative_to(page.parents[1]).as_posix() for page in parsed}
    own = [name for name, recipe in RECIPES.items() if recipe.build.__module__.startswith("ckd.")]
    assert {f"recipes/{name.replace('++', '-plus-plus')}.html" for name in own} <= names
    anchors = set().union(*(found.ids for found in parsed.values()))
    documented = [f"ckd.losses.{name}" for name in losses.__all__] + [f"ckd.objective.{n}" for n in objective.__all__]
    assert set(documented) - anchors == set()
    assert {f"{home}.{name}" for name, home in ckd._HOME.items()} - anchors == set()


@pytest.fixture(scope="module")
def browser():
    if not (BROWSER and DRIVER):
        pytest.skip("no Chromium with chromedriver here")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.mark.parametrize("width", [1300, 390])
def test_every_page_opens_without_errors_requests_or_overflow(browser, parsed, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    for page in parsed:
        browser.get(page.as_uri())
        assert browser.get_log("browser") == [], page
        events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
        asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        assert all(url.startswith(("file:", "data:")) for url in asked), page
        wider = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert browser.execute_script(wider) <= 0, page


def test_search_finds_a_name_and_a_word_from_the_folder_alone(browser, site):
    for words, expected in (("feature_distance", "reference/ckd.losses.html"), ("collages", "explanation/tether.html")):
        browser.get(f"{(site / 'search.html').as_uri()}?q={words}")
        end = time.monotonic() + 30
        while True:
            found = browser.execute_script(
                "return [...document.querySelectorAll('#search-results a')].map(a => a.href)"
            )
            if any(expected in link for link in found):
                break
            assert time.monotonic() < end, (words, found)
            time.sleep(0.2)
        assert browser.get_log("browser") == [], words
