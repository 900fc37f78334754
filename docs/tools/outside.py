"""Documents outside of `docs/`: which there are, where the site has them, links to them."""

import os.path
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
# Folders that documents link to, and the page that says what is in them.
_PAGES = {DOCS / "decisions": "decisions/index.md", ROOT / "examples": "notebooks.md"}
# The site's folder for what is not in `docs/`.
_FOLDER = "repository"
# `](path#heading)` of Markdown and `src="path"` of HTML; never an address of the web.
_LINK = re.compile(r'(?<=\]\()(?P<path>[^)\s#:]+)(?=[#)])|(?<=src=")(?P<source>[^"\s#:]+)(?=")')


def outside_files() -> list[Path]:
    """Returns what the documents link to outside of `docs/`, and what those documents link to."""
    seen: set[Path] = {README}
    queue = [*sorted(DOCS.rglob("*.md")), README]
    while queue:
        path = queue.pop()
        text = path.read_text(encoding="utf-8")
        targets = {(path.parent / match[0]).resolve() for match in _LINK.finditer(text)}
        new = {each for each in targets - seen if each.is_file() and DOCS not in each.parents}
        seen |= new
        queue += sorted(each for each in new if each.suffix == ".md")
    return sorted(seen)


def address(path: Path) -> str:
    """Returns where a file of the repository stands among the site's sources."""
    if path == README:
        return "index.md"
    if path in _PAGES:
        return _PAGES[path]
    if DOCS in path.parents:
        return path.relative_to(DOCS).as_posix()
    return f"{_FOLDER}/{path.relative_to(ROOT).as_posix()}"


def moved(text: str, source: Path) -> str:
    """Returns a document's text with its links as they are from its place in the site.

    Args:
        text: Markdown.
        source: The file that it is from.
    """
    start = Path(address(source)).parent

    def rewrite(match: re.Match[str]) -> str:
        target = (source.parent / match[0]).resolve()
        # What is not there stays as it is: Sphinx names it.
        return os.path.relpath(address(target), start) if target.exists() else match[0]

    return _LINK.sub(rewrite, text)
