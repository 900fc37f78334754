"""Tests of the page in headless Chromium: pictures, threshold, camera and every error."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest
from PIL import Image

from ssh_tf.server.app import LocalServer
from tests.support import toy
from tests.support.small import encode, picture

pytest.importorskip("selenium", reason="needs selenium")
from selenium import webdriver
from selenium.webdriver.common.by import By
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
    assert text(page, "scores").splitlines()[2:] == ["0.250", "125 × 30 px"]
    set_threshold(page, 1)
    assert text(page, "count") == "0 faces"
    assert not page.find_element(By.ID, "error").is_displayed()


def test_boxes_lie_where_the_model_says(page: Any, photo: Path):
    give(page, photo)
    until(page, lambda: text(page, "count") == "1 face")
    set_threshold(page, 0.2)
    # The second box has its left upper corner at an eighth of 200 px and a quarter of 120 px.
    pixel = "return [...context.getImageData(arguments[0], arguments[1], 1, 1).data].slice(0, 3);"
    assert page.execute_script(pixel, 25, 45) == [255, 214, 10]
    assert page.execute_script(pixel, 10, 110) != [255, 214, 10]


def test_a_picture_is_shown_and_sent_upright(page: Any, tmp_path: Path):
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"{orientation}.jpg"
        Image.fromarray(picture(120, 200)).save(path, exif=exif)
        give(page, path)
        upright = "200 × 120 px, " if orientation < 5 else "120 × 200 px, "
        until(page, lambda upright=upright: text(page, "detail").startswith(upright))


def test_scores_do_not_cover_each_other(page: Any):
    page.execute_script(
        "frame.width = frame.height = 400; window.written = [];"
        "const write = context.fillText.bind(context);"
        "context.fillText = (words, ...at) => { written.push(words); write(words, ...at); };"
        "const box = (x, y) => [x, y, x + 100, y + 100];"
        "faces = [{box: box(50, 50), score: 0.91}, {box: box(60, 45), score: 0.82},"
        "  {box: box(380, 200), score: 0.73}, {box: box(200, -20), score: 0.64}]; draw();"
    )
    assert page.execute_script("return written") == ["0.91", "0.73", "0.64"]


def test_a_file_that_is_no_picture_is_told(page: Any, tmp_path: Path):
    path = tmp_path / "notes.txt"
    path.write_text("no picture")
    give(page, path)
    until(page, lambda: "notes.txt is not a picture" in text(page, "error"))


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
