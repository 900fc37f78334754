"""Checks a built site: its links and anchors lead somewhere, nothing is fetched from elsewhere."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Attributes that name an address; of these tags a browser fetches it without being asked.
_ADDRESSES = ("href", "src", "srcset", "data", "poster")
_FETCHED = ("script", "link", "img", "source", "iframe", "object", "video", "audio", "embed")
_STYLE_ADDRESS = re.compile(r"(?:url\(|@import)\s*['\"]?((?:https?:)?//[^'\")\s]+)")


class _Page(HTMLParser):
    """A page's anchors, and its addresses with the tags that name them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.addresses: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.anchors.add(value)
            elif name in _ADDRESSES and value:
                self.addresses.append((tag, value))


def faults(site: Path) -> list[str]:
    """Returns one line for each link that leads nowhere and each address that would be fetched.

    Args:
        site: The folder of the built site.
    """
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    found = [
        f"{path.relative_to(site)}: {fault}"
        for path, page in pages.items()
        for tag, address in page.addresses
        for fault in _faults_of(path, tag, address, pages)
    ]
    for path in sorted(site.rglob("*.css")):
        for address in _STYLE_ADDRESS.findall(path.read_text(encoding="utf-8")):
            found.append(f"{path.relative_to(site)}: fetches {address}")
    return list(dict.fromkeys(found))


def _faults_of(source: Path, tag: str, address: str, pages: dict[Path, _Page]) -> Iterator[str]:
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        if tag in _FETCHED and parts.scheme not in ("data", "mailto"):
            yield f"<{tag}> fetches {address}"
        return
    target = (source.parent / unquote(parts.path)).resolve() if parts.path else source
    if not target.exists():
        yield f"no file for {address}"
    elif (
        parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors
    ):
        yield f"no anchor for {address}"
