"""Builds the site: gathers its sources, runs Sphinx with warnings as errors, checks the result."""

import shutil
import sys
from pathlib import Path

from sphinx.cmd.build import build_main

from docs.tools.check_site import faults
from docs.tools.outside import DOCS, README, ROOT, address, moved, outside_files
from docs.tools.pages import commands_page, decisions_page, python_pages

TOOLS = Path(__file__).parent
# What of `docs/` is shown; the rest makes it.
SHOWN = (".md", ".svg", ".png", ".jpg")


def gather(out: Path) -> None:
    """Writes the sources of the site: documents, pictures, and the pages that are made.

    Args:
        out: A new folder.
    """
    inside = [path for path in DOCS.rglob("*") if path.suffix in SHOWN]
    for path in sorted({*inside, *outside_files()} - {TOOLS / "contents.md"}):
        target = out / address(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            text = moved(path.read_text(encoding="utf-8"), path)
            contents = (TOOLS / "contents.md").read_text(encoding="utf-8")
            target.write_text(text + contents * (path == README), encoding="utf-8")
        else:
            shutil.copyfile(path, target)
    (out / "api").mkdir()
    (out / "commands.md").write_text(commands_page(), encoding="utf-8")
    (out / "decisions" / "index.md").write_text(decisions_page(), encoding="utf-8")
    for name, text in python_pages():
        (out / name).write_text(text, encoding="utf-8")


def main() -> int:
    """Builds `build/site`; returns the exit code."""
    sources, site = ROOT / "build" / "docs", ROOT / "build" / "site"
    for folder in (sources, site):
        shutil.rmtree(folder, ignore_errors=True)
    gather(sources)
    flags = ["--fail-on-warning", "--keep-going", "--quiet", "-E", "-j", "auto"]
    code = build_main([*flags, "-c", str(TOOLS), "-d", f"{site}.doctrees", str(sources), str(site)])
    found = faults(site)
    for fault in found:
        sys.stderr.write(f"{fault}\n")
    return code or int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
