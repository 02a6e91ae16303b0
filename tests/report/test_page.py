"""The page in a real browser: nothing asked of any network, every chart drawn, sorting, hiding and pointing work."""

import json
import re
import shutil
import time

import pytest

import ckd
from ckd.report import write_report
from ckd.report.measures import MEASURES
from ckd.report.tables import shown

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
DRIVER = shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(not (BROWSER and DRIVER), reason="no Chromium with chromedriver here")


@pytest.fixture(scope="module")
def page(made, tmp_path_factory):
    """The page's file, of three methods."""
    file = tmp_path_factory.mktemp("page") / "report.html"
    write_report([made], file, title="Three methods")
    return file


def test_it_asks_nothing_of_any_network_and_is_small(page):
    text = re.sub(r"<script>.*?</script>", "", page.read_text(), flags=re.S)
    assert not re.search(r"<(link|script|img|iframe)[^>]+(src|href)=[\"'](?!data:)", text)
    assert "@import" not in text
    figures = re.search(r'<script type="application/json" id="figures">(.*?)</script>', text, re.S)[1]
    assert len(page.read_text()) - len(figures) < 1_500_000


def test_every_cell_is_the_mean_and_deviation_of_the_runs(page, made):
    text = page.read_text()
    runs = ckd.load_results(made).runs
    for method in ("naive", "er", "joint"):
        row = re.search(rf'<tr data-method="{method}".*?</tr>', text, re.S)[0]
        own = 100 * runs[runs.method == method].accuracy
        assert f"{own.mean():.2f} ± {own.std(ddof=1):.2f}" in row
    measures = {measure.name: measure for measure in MEASURES}
    assert shown(measures["bytes"], None) == "—"


def test_the_charts_hold_the_same_numbers(page, made):
    text = page.read_text()
    charts = json.loads(re.search(r'id="figures">(.*?)</script>', text, re.S)[1])
    rows = ckd.load_results(made).experiences
    curves = charts["split-digits-5-experiences/forgetting-curves"]["datasets"]["data"]
    assert len({point["method"] for point in curves}) == 3
    for point in curves:
        own = rows[(rows.method == point["method"])]
        own = own[own.trained == (5 if point["method"] == "joint" else point["learnt"])]
        if point["view"] == "all experiences so far":
            seen = own if point["method"] == "joint" else own[own.experience <= point["learnt"]]
        else:
            seen = own[own.experience == int(point["view"].split()[1])]
        by_seed = 100 * seen.groupby("seed").accuracy.mean()
        assert point["accuracy"] == pytest.approx(by_seed.mean())
        assert point["high"] == pytest.approx(min(by_seed.mean() + by_seed.std(ddof=1), 100))


def test_a_name_from_a_file_cannot_inject_markup(folder, tmp_path):
    for file in folder.rglob("result.json"):
        content = json.loads(file.read_text())
        if content["recipe"] == "er":
            file.write_text(json.dumps(content | {"recipe": "</script><script>alert(1)</script>"}))
    write_report([folder], tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert "<script>alert(1)" not in text


@pytest.fixture(scope="module")
def browser():
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1200,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def opened(browser, file, width=1200):
    """Open the page and wait until everything is drawn."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(file.as_uri())
    end = time.monotonic() + 60
    while browser.execute_script("return document.documentElement.dataset.drawn") != "yes":
        assert time.monotonic() < end, "not drawn in a minute"
        time.sleep(0.1)


def curves(browser):
    """Lines in the forgetting curves."""
    return browser.execute_script(
        "return [...document.querySelectorAll('[data-figure$=forgetting-curves] .mark-line path')].length"
    )


@needs_browser
@pytest.mark.parametrize("width", [1200, 390])
def test_it_opens_without_errors_or_requests_and_draws_every_chart(browser, page, width):
    opened(browser, page, width)
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert {url for url in asked if not url.startswith("data:")} <= {page.as_uri()}
    charts = browser.execute_script(
        "return [...document.querySelectorAll('.chart')]"
        ".map(c => [c.dataset.figure, c.querySelectorAll('svg path').length])"
    )
    assert len(charts) >= 7
    assert all(paths > 3 for _, paths in charts)
    overflow = browser.execute_script(
        "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    assert overflow <= 0


@needs_browser
def test_the_reliability_diagram_has_its_diagonal(browser, page):
    opened(browser, page)
    lines = "return document.querySelectorAll('[data-figure$=calibration] .mark-line path').length"
    assert browser.execute_script(lines) == 4  # of three methods, and the diagonal


@needs_browser
def test_hiding_a_method_takes_its_line_away(browser, page):
    opened(browser, page)
    assert curves(browser) == 3
    browser.execute_script("document.querySelector('tr[data-method=naive] input').click()")
    time.sleep(0.5)
    assert curves(browser) == 2
    browser.execute_script("document.querySelector('button.none').click()")
    time.sleep(0.5)
    assert curves(browser) == 0
    browser.execute_script("document.querySelector('button.all').click()")
    time.sleep(0.5)
    assert curves(browser) == 3


@needs_browser
def test_pointing_at_a_row_fades_the_others(browser, page):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    opened(browser, page)
    ActionChains(browser).move_to_element(browser.find_element(By.CSS_SELECTOR, "tr[data-method=er] td")).perform()
    time.sleep(0.5)
    opacity = browser.execute_script(
        "return [...document.querySelectorAll('[data-figure$=forgetting-curves] .mark-line path')]"
        ".map(p => parseFloat(p.getAttribute('opacity') ?? getComputedStyle(p).opacity))"
    )
    assert sorted(o > 0.5 for o in opacity) == [False, False, True]


@needs_browser
def test_sorting_and_choosing_an_experience(browser, page):
    opened(browser, page)
    names = "return [...document.querySelectorAll('table.main tbody tr')].map(r => r.dataset.method)"
    assert browser.execute_script(names) == ["er", "naive", "joint"]
    browser.execute_script(
        "[...document.querySelectorAll('table.main th button')].find(b => b.textContent == 'method').click()"
    )
    assert browser.execute_script(names) == ["er", "joint", "naive"]
    browser.execute_script(
        "[...document.querySelectorAll('table.main th button')].find(b => b.textContent == 'method').click()"
    )
    assert browser.execute_script(names) == ["naive", "joint", "er"]
    path = "return document.querySelector('[data-figure$=forgetting-curves] .mark-line path').getAttribute('d')"
    before = browser.execute_script(path)
    browser.execute_script(
        "const s = document.querySelector('select[data-parameter=view]'); s.value = 'experience 2';"
        "s.dispatchEvent(new Event('change'))"
    )
    time.sleep(0.5)
    assert browser.execute_script(path) != before


@needs_browser
def test_accessibility_basics(browser, page):
    opened(browser, page)
    assert browser.execute_script("return document.documentElement.lang") == "en"
    for selector in ("input", "button", "select"):
        unnamed = browser.execute_script(
            f"return [...document.querySelectorAll('{selector}')].filter(e => !(e.ariaLabel || e.textContent.trim()"
            " || e.labels?.length)).length"
        )
        assert unnamed == 0
    labels = "return [...document.querySelectorAll('.chart [role=graphics-document]')].map(c => c.ariaLabel)"
    found = browser.execute_script(labels)
    assert len(found) == len(browser.execute_script("return [...document.querySelectorAll('.chart')]"))
    assert all(len(label) > 20 for label in found)


@needs_browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser, page, theme):
    from axe_core_python.selenium import Axe

    emulated = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", emulated)
    opened(browser, page)
    found = Axe().run(browser)["violations"]
    serious = {
        v["id"]: [n["html"][:120] for n in v["nodes"][:3]] for v in found if v["impact"] in ("serious", "critical")
    }
    assert serious == {}
