"""The site's tools: made pages, moved links, and the check of what was built."""

from pathlib import Path

import pytest

pytest.importorskip("sphinx")

from docs.tools.check_site import faults
from docs.tools.outside import DOCS, ROOT, address, moved, outside_files
from docs.tools.pages import commands_page, decisions_page, packages, python_pages
from tests.support.commands import COMMANDS


def test_every_command_has_its_section_with_its_flags():
    page = commands_page()
    assert all(f"\n## ssh-tf {command}\n" in page for command in COMMANDS)
    assert "| `--redact blur\\|pixelate\\|fill` | hide the faces" in page
    assert "(default: 8501)" in page  # Defaults are written out,
    assert "undefok" not in page  # and absl's own flags left out.


def test_every_module_but_the_command_line_is_in_the_reference():
    listed = {name for modules in packages().values() for name in modules}
    files = [p for p in (ROOT / "ssh_tf").rglob("*.py") if "cli" not in p.parts]
    names = {".".join(p.relative_to(ROOT).with_suffix("").parts) for p in files}
    names = {name.removesuffix(".__init__") for name in names}
    assert listed == names - {"ssh_tf", "ssh_tf.__main__"}
    text = "\n".join(text for _, text in python_pages())
    assert all(f".. automodule:: {name}\n" in text for name in listed)


def test_every_decision_is_listed():
    page = decisions_page()
    files = sorted((DOCS / "decisions").glob("0*.md"))
    assert len(files) > 20
    assert all(f"| [{path.name[:4]}]({path.name}) |" in page for path in files)


def test_every_document_is_in_the_contents():
    contents = (DOCS / "tools" / "contents.md").read_text(encoding="utf-8")
    listed = {name for line in contents.split("\n") for name in (line, line[:-1].split("<")[-1])}
    assert {path.stem for path in DOCS.glob("*.md")} <= listed
    outside = [path for path in outside_files() if path.suffix == ".md"]
    assert {address(path).removesuffix(".md") for path in outside} <= {"index", *listed}


def test_documents_outside_and_what_they_link_to_are_found():
    outside = outside_files()
    assert {ROOT / "README.md", ROOT / "export" / "README.md", ROOT / "LICENSE"} <= set(outside)
    assert ROOT / "export" / "nginx.conf" not in outside  # nowhere linked by this name
    assert all(DOCS not in path.parents for path in outside)


@pytest.mark.parametrize(
    ("text", "source", "expected"),
    [
        pytest.param(
            "[a](docs/python.md#faces)", ROOT / "README.md", "[a](python.md#faces)", id="into"
        ),
        pytest.param(
            "[a](../export/README.md)",
            DOCS / "serving.md",
            "[a](repository/export/README.md)",
            id="out",
        ),
        pytest.param(
            "[a](../docs/serving.md)",
            ROOT / "export" / "README.md",
            "[a](../../serving.md)",
            id="back",
        ),
        pytest.param(
            "[a](docs/decisions/)", ROOT / "README.md", "[a](decisions/index.md)", id="folder"
        ),
        pytest.param("[a](examples/)", ROOT / "README.md", "[a](notebooks.md)", id="examples"),
        pytest.param("[a](nowhere.md)", DOCS / "python.md", "[a](nowhere.md)", id="missing"),
        pytest.param("[a](https://a.b/c)", DOCS / "python.md", "[a](https://a.b/c)", id="web"),
        pytest.param(
            '<img src="docs/pictures/network.svg">',
            ROOT / "README.md",
            '<img src="pictures/network.svg">',
            id="html",
        ),
    ],
)
def test_links_follow_a_document_into_the_site(text: str, source: Path, expected: str):
    assert moved(text, source) == expected


def test_addresses_of_the_repository():
    assert address(ROOT / "README.md") == "index.md"
    assert address(DOCS / "decisions") == "decisions/index.md"
    assert address(ROOT / "CHANGELOG.md") == "repository/CHANGELOG.md"


def test_a_built_site_is_checked(tmp_path: Path):
    (tmp_path / "good.html").write_text(
        '<a id="here"></a><a href="#here"></a><a href="https://a.b/"></a><img src="a.png">'
    )
    (tmp_path / "a.png").write_bytes(b"")
    assert faults(tmp_path) == []
    (tmp_path / "bad.html").write_text(
        '<a href="good.html#there"></a><a href="gone.html"></a><img src="gone.png">'
        '<script src="https://a.b/c.js"></script><link href="//a.b/d.css">'
    )
    (tmp_path / "bad.css").write_text("@import 'https://a.b/font'; a { background: url(x.png) }")
    assert faults(tmp_path) == [
        "bad.html: no anchor for good.html#there",
        "bad.html: no file for gone.html",
        "bad.html: no file for gone.png",
        "bad.html: <script> fetches https://a.b/c.js",
        "bad.html: <link> fetches //a.b/d.css",
        "bad.css: fetches https://a.b/font",
    ]
