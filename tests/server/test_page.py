"""Tests of the page in headless Chromium: pictures, threshold, camera and every error."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest
from PIL import Image

from ssh_tf.imaging.draw import score_color
from ssh_tf.server.app import LocalServer
from tests.support import toy
from tests.support.small import encode, picture

pytest.importorskip("selenium", reason="needs selenium")
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--window-size=1100,800",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs chromium and chromedriver on the PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield opened
    opened.quit()


@pytest.fixture
def page(browser: Any, server: LocalServer) -> Any:
    browser.get(f"http://127.0.0.1:{server.rest_port}/")
    return browser


def until(page: Any, true: Callable[[], Any]) -> None:
    WebDriverWait(page, 20, poll_frequency=0.05).until(lambda _: true())


def text(page: Any, name: str) -> str:
    return page.find_element(By.ID, name).text


def give(page: Any, path: Path) -> None:
    page.find_element(By.ID, "file").send_keys(str(path))


def set_threshold(page: Any, value: float) -> None:
    page.execute_script(
        "const slider = document.getElementById('threshold'); slider.value = arguments[0];"
        "slider.dispatchEvent(new Event('input'));",
        value,
    )


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(encode(picture(120, 200), ".jpg", cv2.IMWRITE_JPEG_QUALITY, 98))
    return path


def test_a_picture_shows_its_faces_and_the_threshold_selects(page: Any, photo: Path):
    give(page, photo)
    # The toy finds two faces, of a score above 0.5 and of 0.25.
    until(page, lambda: text(page, "count") == "1 face")
    assert re.fullmatch(r"200 × 120 px, \d+ ms", text(page, "detail"))
    canvas = page.find_element(By.ID, "picture")
    assert canvas.is_displayed()
    assert canvas.get_attribute("aria-label") == "Picture with 1 face marked"
    assert not page.find_element(By.ID, "hint").is_displayed()
    set_threshold(page, 0.2)
    assert text(page, "count") == "2 faces"
    # The second box: 5/8 of the width and a quarter of the height.
    assert text(page, "faces").splitlines()[2:] == ["0.250", "125 × 30 px"]
    set_threshold(page, 1)
    assert text(page, "count") == "0 faces"
    assert not page.find_element(By.ID, "error").is_displayed()


def pixel(page: Any, x: float, y: float) -> list[int]:
    """Returns what is drawn at a point of the picture, px: RGB."""
    return page.execute_script(
        "const {left, top, scale} = view.drawn;"
        "const at = [(arguments[0] - left) * scale, (arguments[1] - top) * scale];"
        "return [...canvas.getContext('2d').getImageData(...at, 1, 1).data].slice(0, 3);",
        x,
        y,
    )


BLUE = list(score_color(0.25))


def test_boxes_lie_where_the_model_says(page: Any, photo: Path):
    give(page, photo)
    until(page, lambda: text(page, "count") == "1 face")
    set_threshold(page, 0.2)
    # The second box has its left upper corner at an eighth of 200 px and a quarter of 120 px.
    assert pixel(page, 25, 45) == BLUE
    assert pixel(page, 10, 110) != BLUE
    page.execute_script("view.zoomBy(2, [0, 0])")
    assert pixel(page, 25, 45) == BLUE


def rows(page: Any) -> list[str]:
    """Returns what the rows of the list are: `active`, `selected`, both or `-`."""
    return page.execute_script(
        "return [...document.querySelectorAll('#faces li')].map((row) =>"
        " [row.classList.contains('active') && 'active',"
        "  row.getAttribute('aria-selected') === 'true' && 'selected']"
        " .filter(Boolean).join(' ') || '-');"
    )


def test_list_and_boxes_point_at_each_other(page: Any, photo: Path):
    give(page, photo)
    until(page, lambda: text(page, "count") == "1 face")
    set_threshold(page, 0.2)
    faded = pixel(page, 25, 45)
    mouse = ActionChains(page, duration=0)
    mouse.move_to_element(page.find_element(By.ID, "face-0")).perform()
    assert rows(page) == ["active", "-"]
    assert pixel(page, 25, 45) != faded  # The other one is paler.
    # The second box from the left at half of its height, which the first one does not reach.
    canvas = page.find_element(By.ID, "picture")
    offset = page.execute_script("return [(30 - 100) * view.scale, (45 - 60) * view.scale]")
    mouse.move_to_element_with_offset(canvas, *offset).perform()
    assert rows(page) == ["-", "active"]
    mouse.click().move_to_element(page.find_element(By.ID, "threshold")).perform()
    assert rows(page) == ["-", "active selected"]


def test_keys_alone_choose_and_zoom(page: Any, photo: Path):
    give(page, photo)
    until(page, lambda: text(page, "count") == "1 face")
    set_threshold(page, 0.2)
    faces = page.find_element(By.ID, "faces")
    faces.send_keys(Keys.ARROW_DOWN)  # The first one has been chosen by the focus.
    assert rows(page) == ["-", "active selected"]
    assert faces.get_attribute("aria-activedescendant") == "face-1"
    faces.send_keys(Keys.ENTER)
    # Three times the box' 125 px are more than the picture's 200: its height decides, 120 / 90.
    assert page.execute_script("return view.zoom") == pytest.approx(1)
    faces.send_keys(Keys.ESCAPE)
    assert rows(page) == ["-", "-"]
    picture = page.find_element(By.ID, "picture")
    picture.send_keys("++", Keys.ARROW_RIGHT)
    # From the middle, 200 / 2.25 px wide, and 40 px of the page further.
    left = page.execute_script("return view.left - 40 / view.scale")
    assert left == pytest.approx(100 - 100 / 2.25)
    picture.send_keys("0")
    assert page.execute_script("return [view.zoom, view.left]") == [1, 0]


def test_two_fingers_zoom_the_picture(page: Any, photo: Path):
    give(page, photo)
    until(page, lambda: text(page, "count") == "1 face")
    box = page.execute_script("return canvas.getBoundingClientRect().toJSON()")
    middle, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def touch(kind: str, *distances: float) -> None:
        points = [{"x": middle + x, "y": y, "id": i} for i, x in enumerate(distances)]
        page.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", -20, 20)
    touch("touchMove", -30, 30)
    touch("touchMove", -40, 40)
    touch("touchEnd")
    assert page.execute_script("return view.zoom") == pytest.approx(2, rel=0.05)
    assert page.execute_script("return view.left") == pytest.approx(50, abs=3)
    page.find_element(By.ID, "whole").click()
    assert page.execute_script("return view.zoom") == 1


def saved(page: Any, button: str) -> dict[str, str]:
    """Clicks on a download and returns its name, type and content; none is written."""
    return page.execute_async_script(
        "const [button, done] = arguments; let link;"
        "HTMLAnchorElement.prototype.click = function () { link = this; };"
        "const make = URL.createObjectURL.bind(URL);"
        "URL.createObjectURL = (blob) => {"
        "  blob.text().then((text) => done({name: link.download, type: blob.type, text}));"
        "  return make(blob); };"
        "document.getElementById(button).click();",
        button,
    )


def test_picture_and_faces_are_downloaded(page: Any, photo: Path):
    assert text(page, "version") == "1"
    give(page, photo)
    until(page, lambda: text(page, "count") == "1 face")
    set_threshold(page, 0.25)
    file = saved(page, "save-json")
    assert (file["name"], file["type"]) == ("photo_faces.json", "application/json")
    entry = json.loads(file["text"])
    assert entry["faces"][1] == {"box": [25, 30, 150, 60], "score": 0.25}
    del entry["faces"]
    assert entry == {
        "image": "photo",
        "height": 120,
        "width": 200,
        "model": text(page, "model"),
        "version": "1",
        "minimum_score": 0.25,
    }
    picture = saved(page, "save-picture")
    assert (picture["name"], picture["type"]) == ("photo_faces.jpg", "image/jpeg")


def test_a_sample_is_a_click_away(page: Any):
    page.find_element(By.ID, "sample").click()
    until(page, lambda: text(page, "count") == "1 face")
    assert text(page, "detail").startswith("720 × 480 px, ")


def test_a_picture_is_shown_and_sent_upright(page: Any, tmp_path: Path):
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"{orientation}.jpg"
        Image.fromarray(picture(120, 200)).save(path, exif=exif)
        give(page, path)
        upright = "200 × 120 px, " if orientation < 5 else "120 × 200 px, "
        until(page, lambda upright=upright: re.match(upright + r"\d", text(page, "detail")))


def test_scores_cover_neither_each_other_nor_other_faces(page: Any):
    place = "return placePlates(arguments[0], 40, 18, [400, 400], arguments[1])"
    boxes = [
        [50, 50, 150, 150],  # Above it is the second one.
        [60, 45, 160, 145],
        [200, 0, 300, 100],  # Nothing is above the picture.
        [380, 200, 400, 300],  # Too narrow.
        [0, 300, 400, 400],  # Above it are two others, and it is large.
        [0, 250, 60, 299],
    ]
    assert page.execute_script(place, boxes, False) == [
        [50, 150, 90, 168],
        [60, 27, 100, 45],
        [200, 100, 240, 118],
        None,
        [0, 300, 40, 318],
        [0, 232, 40, 250],
    ]
    narrow = [[380, 200, 400, 300], [340, 150, 400, 199]]  # The first one is looked at.
    assert page.execute_script(place, narrow, False)[0] is None
    assert page.execute_script(place, narrow, True)[0] == [360, 182, 400, 200]


def test_a_file_that_is_no_picture_is_told(page: Any, tmp_path: Path):
    path = tmp_path / "notes.txt"
    path.write_text("no picture")
    give(page, path)
    until(page, lambda: "notes.txt is not a picture" in text(page, "error"))


def test_an_error_clears_the_older_result(page: Any, photo: Path, tmp_path: Path):
    give(page, photo)
    until(page, lambda: text(page, "count") == "1 face")
    path = tmp_path / "notes.txt"
    path.write_text("no picture")
    give(page, path)
    until(page, lambda: text(page, "error"))
    for name in ("count", "faces", "picture", "downloads"):
        assert not page.find_element(By.ID, name).is_displayed()
    assert text(page, "detail") == "no picture yet"
    assert page.find_element(By.ID, "hint").is_displayed()


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (503, '{"error": "x"}', "The server is busy. Try again"),
        (400, '{"error": "odd picture"}', "The server refused the picture: odd picture"),
        (500, "<html>", "The server refused the picture: 500"),
        (200, '{"predictions": [{"detection_status": 2}]}', "refused the picture: too large"),
        (200, "<html>", "The answer can't be read"),
    ],
)
def test_errors_of_the_server_are_told(
    page: Any, photo: Path, status: int, body: str, message: str
):
    page.execute_script(
        "window.fetch = async () => new Response(arguments[1], {status: arguments[0]});",
        status,
        body,
    )
    give(page, photo)
    until(page, lambda: message in text(page, "error"))
    assert not page.find_element(By.ID, "busy").is_displayed()
    assert text(page, "detail") == "200 × 120 px, no answer"


def test_a_server_that_is_gone_is_told(browser: Any, toy_models: Path, photo: Path):
    with toy.serve(toy_models) as server:
        browser.get(f"http://127.0.0.1:{server.rest_port}/")
    give(browser, photo)
    until(browser, lambda: "can't be reached" in text(browser, "error"))
    assert browser.find_element(By.ID, "picture").is_displayed()


def test_the_camera_is_watched_until_it_is_stopped(page: Any):
    button = page.find_element(By.ID, "camera")
    button.click()
    until(page, lambda: "face" in text(page, "count"))
    first = text(page, "detail")
    until(page, lambda: text(page, "detail") != first)  # The next frame.
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    until(page, lambda: button.get_attribute("aria-pressed") == "false")
    assert page.execute_script("return stream === null")


def test_the_policy_lets_nothing_else_run(page: Any):
    page.get_log("browser")
    ran = page.execute_script(
        "const other = document.createElement('script'); other.textContent = 'window.ran = 1';"
        "document.body.append(other); return window.ran;"
    )
    assert ran is None
    assert any("Content Security Policy" in entry["message"] for entry in page.get_log("browser"))


def test_the_page_itself_breaks_no_policy(browser: Any, server: LocalServer, photo: Path):
    browser.get_log("browser")
    browser.get(f"http://127.0.0.1:{server.rest_port}/")
    give(browser, photo)
    until(browser, lambda: text(browser, "count") == "1 face")
    complaints = [entry["message"] for entry in browser.get_log("browser")]
    assert complaints == []


# `npm install --no-save axe-core` puts it there; it is not part of the repository.
AXE = Path(__file__).resolve().parents[2] / "node_modules" / "axe-core" / "axe.min.js"


@pytest.mark.skipif(not AXE.exists(), reason="needs axe-core: npm install --no-save axe-core")
def test_axe_finds_nothing_that_shuts_people_out(browser: Any, server: LocalServer, photo: Path):
    for width, scheme in ((1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")):
        screen = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 800}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        preferred = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": preferred})
        browser.get(f"http://127.0.0.1:{server.rest_port}/")
        browser.execute_script(AXE.read_text(encoding="utf-8"))
        assert violations(browser) == []
        give(browser, photo)
        until(browser, lambda: text(browser, "count") == "1 face")
        browser.execute_script("list.choose(0); tell('A message.')")
        assert violations(browser) == []
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def violations(page: Any) -> list[str]:
    return page.execute_async_script(
        "const done = arguments[0]; axe.run().then(({violations}) => done(violations.map("
        "  ({id, nodes}) => `${id}: ${nodes.map(({html}) => html).join(' ')}`)));"
    )
