"""The page in a browser: what is drawn, where, in which colours, and what it asks the network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from show_results import (
    HOSTILE,
    PEAKS,
    beside_limit,
    change_machine,
    spec_of,
    verdict_on,
    write_results,
)

from harness.run.folder import read_rows
from harness.show.page.build import write_report

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
DRIVER = shutil.which("chromedriver") or ""
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="no Chromium and chromedriver on this machine"
)
WIDTHS = (375, 768, 1440)
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars".split()
)


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """One page of one result with all there can be in it, one of several, one of strangers."""
    place = tmp_path_factory.mktemp("pages")
    speeds = {"tensorflow": 2000.0, "torch": 1000.0, "flax": 500.0}
    wrong = {"equivalent": False, "equivalence_difference": 0.25, "equivalence_where": "logits"}
    columns = beside_limit(speeds, 4000.0)
    columns["flax"] |= wrong
    one = write_results(place / "one", speeds, seeds=2, changes=columns)
    change_machine(one, peaks=[PEAKS])
    (one / "ab").mkdir()
    (one / "ab" / "verdict.json").write_text(json.dumps(verdict_on(spec_of())))
    (one / "models" / "mnist_1conv_torch.py").write_text("x = 1  # " + "long " * 80 + "\n")
    for number, model in enumerate(["mnist-1conv", "resnet-20", "googlenet"]):
        started = f"2026-0{number + 1}-01T00:00:00+00:00"
        for part in ("", "again"):
            folder = place / "many" / f"{model}{part}"
            devices = ("cpu", "gpu")
            write_results(folder, speeds, model=model, started_at=started, devices=devices)
            started = started.replace("-01T", "-11T")
    bad = dict.fromkeys(("model", "error", "note", "versions", "status", "variant"), HOSTILE)
    write_results(place / "bad", changes={"torch": bad, "tensorflow": bad})
    for name in ("one", "many", "bad"):
        write_report([place / name], place / f"{name}.html", checks=[])
    return place


@pytest.fixture
def show(browser, pages):
    """Open a page at a width, in light or dark, on screen or on paper."""

    def shown(name="one", width=1440, scheme="light", media="screen", script=True):
        device = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.get("about:blank")
        browser.get_log("performance")
        browser.get_log("browser")
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not script})
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", device)
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"media": media, "features": features}
        )
        browser.get((pages / f"{name}.html").as_uri())
        return browser

    return shown


def requests_of(browser) -> list[str]:
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]


@pytest.mark.parametrize("name", ["one", "many", "bad"])
def test_nothing_is_asked_of_the_network_and_nothing_goes_wrong(show, pages, name):
    browser = show(name)
    urls = requests_of(browser)
    assert (pages / f"{name}.html").as_uri() in urls, "the log is that of this page"
    assert {url.partition(":")[0] for url in urls} <= {"file", "data"}
    assert [url for url in urls if url.startswith("file")] == [(pages / f"{name}.html").as_uri()]
    assert browser.get_log("browser") == []


def test_a_request_would_be_noticed_and_refused(show):
    """The two tests above and below can fail: the policy stops what an injected script would do."""
    browser = show()
    browser.execute_script("new Image().src = 'https://example.invalid/x.png'")
    (entry,) = [e for e in browser.get_log("browser") if "example.invalid" in e["message"]]
    assert "Content Security Policy" in entry["message"]


def test_text_of_strangers_stays_text(show):
    browser = show("bad")
    assert browser.execute_script("return window.hit") is None
    assert browser.execute_script("return document.images.length") == 0
    assert "onerror=" in browser.execute_script("return document.body.innerText")


BARS = """
const chart = document.querySelector("#case-1-throughput .bars");
const ticks = [...chart.querySelectorAll(".grid span")].map((tick) =>
  [Number(tick.innerText.replaceAll(",", "")), tick.getBoundingClientRect().left]);
const rows = [...chart.querySelectorAll(".row")].map((row) => {
  const end = (query) => row.querySelector(query)?.getBoundingClientRect();
  return [row.dataset.backend, end(".fill").right, end(".whisker").left, end(".whisker").right];
});
return [ticks, rows];
"""


@pytest.mark.parametrize("width", WIDTHS)
def test_bars_end_at_the_figures_of_the_summary_beside_the_ticks_of_their_axis(show, pages, width):
    (zero, left), *_, (last, right) = (found := show(width=width).execute_script(BARS))[0]
    assert zero == 0
    expected = {row["backend"]: row for row in read_rows(pages / "one" / "summary.csv")}
    assert len(found[1]) == 3
    for backend, *ends in found[1]:
        row = expected[backend]
        for end, column in zip(ends, ("", "_low", "_high"), strict=True):
            value = last * (end - left) / (right - left)
            pixels = 1.5 * last / (right - left)
            assert value == pytest.approx(row[f"train_images_per_second{column}"], abs=pixels)


POINTS = """
const panel = [...document.querySelectorAll("#case-1-learning .panel")]
  .find((item) => item.querySelector("h4").innerText === "Accuracy by epoch");
const number = (tick) => Number(tick.innerText.replaceAll(",", ""));
const y = [...panel.querySelectorAll(".gy")].map((t) => [number(t), t.getBoundingClientRect().top]);
const at = (tick) => tick.getBoundingClientRect().left;
const x = [...panel.querySelectorAll(".gx")].map((tick) => [number(tick), at(tick)]);
const points = [...panel.querySelectorAll("g[data-backend=torch] .hit")].map((point) => {
  const box = point.getBoundingClientRect();
  return [box.left + box.width / 2, box.top + box.height / 2, point.dataset.tip];
});
return [x, y, points];
"""


@pytest.mark.parametrize("width", WIDTHS)
def test_points_of_accuracy_lie_where_their_values_are_on_both_axes(show, pages, width):
    x, y, points = show(width=width).execute_script(POINTS)
    rows = read_rows(pages / "one" / "samples.csv")
    tests = [r for r in rows if r["phase"] == "test" and r["backend"] == "torch"]

    def value(place, ticks):
        (low, at_low), (high, at_high) = ticks[0], ticks[-1]
        return low + (high - low) * (place - at_low) / (at_high - at_low)

    assert len(points) == 3
    for epoch, (left, top, tip) in enumerate(points, start=1):
        found = [row["accuracy"] for row in tests if row["epoch"] == epoch]
        mean = 100 * sum(found) / len(found)
        assert value(left, x) == pytest.approx(epoch, abs=0.03)
        assert value(top, y) == pytest.approx(mean, abs=0.3)
        assert f"{mean:.2f} %" in tip


VISIBLE = """
return [...document.querySelectorAll(arguments[0])].filter((item) =>
  item.checkVisibility() && getComputedStyle(item).display !== "none").length  // the second: SVG
"""


def visible(browser, query: str) -> int:
    return browser.execute_script(VISIBLE, query)


def box(browser, name: str):
    return browser.find_element("css selector", f".filters label:has([value='{name}'])")


def test_a_backend_that_is_taken_out_is_hidden_everywhere_and_comes_back(show):
    browser = show()
    marked = "main [data-backend=torch]"
    before, others = visible(browser, marked), visible(browser, "main [data-backend=flax]")
    assert before > 20
    box(browser, "torch").click()
    assert visible(browser, marked) == 0
    assert visible(browser, "main [data-backend=flax]") == others
    assert "without torch" in browser.find_element("css selector", "output").text
    browser.find_element("css selector", "[type=reset]").click()
    browser.execute_async_script("setTimeout(arguments[0], 50)")
    assert visible(browser, marked) == before


def test_models_and_devices_are_filtered_too(show):
    browser = show("many")
    articles, gpu = visible(browser, "article"), visible(browser, "main [data-device=gpu]")
    assert articles == 6
    assert gpu > 0
    assert visible(browser, "section[data-model=googlenet]") == 1, "its course over time"
    box(browser, "googlenet").click()
    assert visible(browser, "article") == 4
    assert visible(browser, "[data-model=googlenet]") == 0
    box(browser, "gpu").click()
    assert visible(browser, "main [data-device=gpu]") == 0
    assert visible(browser, "main [data-device=cpu]") > 0


def test_filters_work_from_the_keyboard(show):
    from selenium.webdriver.common.keys import Keys

    browser = show()
    body = browser.find_element("css selector", "body")
    body.send_keys(Keys.TAB)
    assert browser.switch_to.active_element.text == "To the results"
    for _ in range(3):
        browser.switch_to.active_element.send_keys(Keys.TAB)
    assert browser.switch_to.active_element.get_attribute("value") == "torch"
    browser.switch_to.active_element.send_keys(Keys.SPACE)
    assert visible(browser, "main [data-backend=torch]") == 0


def test_tables_open_from_the_keyboard(show):
    from selenium.webdriver.common.keys import Keys

    browser = show()
    assert visible(browser, ".data table") == 0
    browser.find_element("css selector", ".data summary").send_keys(Keys.ENTER)
    assert visible(browser, ".data table") == 1


def test_what_is_pointed_at_says_its_figure(show):
    browser = show()
    bar = browser.find_element("css selector", "#case-1-throughput .row[data-backend=torch] .track")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", bar)
    webdriver.ActionChains(browser).move_to_element(bar).perform()
    tip = browser.find_element("id", "tip")
    assert "torch on cpu: 1,000 images per second" in tip.text
    assert "980 to 1,020" in tip.text


OVERFLOWING = """
const inner = (item) => item.closest(".scroll, pre, .unseen, .skip, .stack, svg, legend");
return [...document.querySelectorAll("body *")].filter((item) => {
  if (inner(item.parentElement) || inner(item) || !item.checkVisibility()) return false;
  const box = item.getBoundingClientRect();
  return box.width && (box.right > arguments[0] + 1 || box.left < -1);
}).map((item) => `${item.tagName}.${item.className} ${item.innerText}`.slice(0, 80));
"""


@pytest.mark.parametrize(("width", "stays"), [(375, False), (1440, True)])
def test_filters_stay_in_sight_where_they_leave_room_for_the_rest(show, width, stays):
    browser = show("many", width)
    browser.execute_script("window.scrollTo(0, 2000)")
    bottom = "return document.querySelector('.bar').getBoundingClientRect().bottom"
    assert (browser.execute_script(bottom) > 0) == stays


@pytest.mark.parametrize("name", ["one", "many", "bad"])
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_window_even_with_everything_open(show, name, width):
    browser = show(name, width)
    browser.execute_script("document.querySelectorAll('details').forEach((d) => d.open = true)")
    assert browser.execute_script(OVERFLOWING, width) == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


CONTRAST = """
const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
const light = (colour) => {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((v) => {
    v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
  return .2126 * r + .7152 * g + .0722 * b;
};
const paper = light(getComputedStyle(document.body).backgroundColor);
const items = [...document.querySelectorAll(arguments[0])].filter((item) => item.checkVisibility());
return [paper, items.map((item) => {
  const ink = light(getComputedStyle(item).color);
  const ratio = (Math.max(ink, paper) + .05) / (Math.min(ink, paper) + .05);
  return [ratio, item.className, item.tagName];
})];
"""
TEXTS = (
    "h1, h2, h3, h4, p, .row .value, .row .name, .end, .gx em, .gy em, .grid em, td, th, dd, a, li"
)


@pytest.mark.parametrize(("scheme", "darkest", "lightest"), [("light", 0.9, 1), ("dark", 0, 0.05)])
def test_text_can_be_read_in_light_and_in_dark(show, scheme, darkest, lightest):
    """Contrast of 4.5 is WCAG's level AA for text, https://www.w3.org/TR/WCAG22/#contrast-minimum"""
    paper, texts = show(scheme=scheme).execute_script(CONTRAST, TEXTS)
    assert darkest <= paper <= lightest
    assert len(texts) > 100
    assert [text for text in texts if text[0] < 4.5] == []


def test_the_button_changes_light_and_dark(show):
    browser = show(scheme="light")
    colour = "return getComputedStyle(document.body).backgroundColor"
    before = browser.execute_script(colour)
    button = browser.find_element("css selector", ".theme")
    button.click()
    assert browser.execute_script(colour) != before
    button.click()
    assert browser.execute_script(colour) == before


def test_paper_is_white_and_has_all_charts_and_no_controls(show):
    browser = show(scheme="dark", media="print")
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)"
    )
    assert visible(browser, ".filters, .theme, .data, .sources") == 0
    assert (
        visible(browser, ".chart") == visible(browser, ".panel") + visible(browser, ".bars") >= 10
    )
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    assert len(printed["data"]) > 10_000


def test_without_scripts_all_is_there_but_the_controls(show):
    browser = show(script=False)
    found = browser.find_elements("css selector", ".filters, .theme")
    assert found
    assert not any(item.is_displayed() for item in found)
    bars = browser.find_elements("css selector", "#case-1-throughput .fill")
    assert [bar.rect["width"] > 50 for bar in bars] == [True, True, True]


def test_the_browser_reads_the_page_out_as_charts_with_names_and_one_main_heading(show):
    browser = show()
    tree = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named = {
        role: [n.get("name", {}).get("value") for n in tree if n["role"]["value"] == role]
        for role in ("image", "heading", "checkbox", "table")
    }
    assert named["checkbox"] == ["flax", "tensorflow", "torch"]
    assert all(named["image"])
    assert any(
        name.startswith("Bars, images per second: tensorflow 2,000") for name in named["image"]
    )
    assert Path(browser.current_url).name == "one.html"
    levels = browser.execute_script(
        "return [...document.querySelectorAll('h1,h2,h3,h4')].map((h) => Number(h.tagName[1]))"
    )
    assert levels.count(1) == 1
