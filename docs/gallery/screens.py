"""Pictures of what is seen in a browser: the page of the local server, and TensorBoard."""

import base64
import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from ssh_tf.server.app import LocalServer
from ssh_tf.server.limits import Limits

Save = Callable[[Path, np.ndarray], None]

FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
SETTLED_SECONDS = 3
# Name of the picture: width, height and pixels per px of the screen, and its colors.
SCREENS = {
    "page-light": (1280, 800, 1, "light"),
    "page-dark": (1280, 800, 1, "dark"),
    "page-phone": (390, 1060, 2, "light"),
}


def draw(exported: Path, logs: Path, out: Path, save: Save) -> bool:
    """Draws the page of an export and TensorBoard; returns whether there is a browser for it."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        return False
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in FLAGS:
        options.add_argument(flag)
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        with serve(exported) as server:
            for name, screen in SCREENS.items():
                show_page(browser, server.rest_port, *screen)
                save(out / f"{name}.jpg", capture(browser))
        with tensorboard(logs) as port:
            show_tensorboard(browser, port)
            save(out / "tensorboard.jpg", capture(browser))
    finally:
        browser.quit()
    return True


def serve(exported: Path) -> LocalServer:
    """Returns a server on a free port, not started."""
    return LocalServer(exported, name="light", rest_port=0, grpc_port=0, limits=Limits())


@contextlib.contextmanager
def tensorboard(logs: Path) -> Iterator[int]:
    """Runs TensorBoard; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", logs, "--port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            next(line for line in process.stderr or () if "http://" in line)
            yield port
        finally:
            process.kill()  # it may wait for a reader of its messages


def show_page(
    browser: webdriver.Chrome, port: int, width: int, height: int, ratio: int, colors: str
) -> None:
    """Opens the page and lets it find the faces of its sample."""
    show(browser, f"http://127.0.0.1:{port}/", width, height, ratio, colors)
    browser.find_element(By.ID, "sample").click()
    wait(browser, "return document.getElementById('count').textContent.includes('face')")
    browser.execute_script("list.choose(3); list.reveal(0)")


def show_tensorboard(browser: webdriver.Chrome, port: int) -> None:
    """Opens the page of the losses, without its settings."""
    show(browser, f"http://127.0.0.1:{port}/?tagFilter=loss", 1280, 800, 1, "light")
    wait(browser, "return document.querySelectorAll('scalar-card line-chart').length > 3")
    browser.execute_script("document.querySelector('button.settings-button')?.click()")
    wait(browser, "return !document.querySelector('settings-view')")
    wait(browser, "return !document.querySelector('mat-spinner')")


def show(
    browser: webdriver.Chrome, url: str, width: int, height: int, ratio: int, colors: str
) -> None:
    """Opens an address on a screen of a size and of a scheme of colors."""
    screen = {"width": width, "height": height, "deviceScaleFactor": ratio, "mobile": ratio > 1}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    preferred = [{"name": "prefers-color-scheme", "value": colors}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": preferred})
    browser.get(url)


def wait(browser: webdriver.Chrome, script: str) -> None:
    """Waits until a script returns something true."""
    WebDriverWait(browser, 60).until(lambda _: browser.execute_script(script))


def capture(browser: webdriver.Chrome) -> np.ndarray:
    """Returns what the screen shows once it stays the same, `[H, W, 3]` uint8 RGB."""
    before, shot = "", shoot(browser)
    while shot != before:
        time.sleep(SETTLED_SECONDS)
        before, shot = shot, shoot(browser)
    encoded = np.frombuffer(base64.b64decode(shot), np.uint8)
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1]


def shoot(browser: webdriver.Chrome) -> str:
    """Returns a picture of the screen: PNG, base64."""
    shot: str = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"]
    return shot
