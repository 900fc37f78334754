"""Rules that keep whole kinds of faults out: what library code must not do, and what does it.

docs/rules.md names the kinds. Each rule is a pattern of source lines and the files that may
have it.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {
    path.relative_to(ROOT / "ssh_tf").as_posix(): path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "ssh_tf").rglob("*.py"))
}

RULES = [
    pytest.param(
        r"os\.environ\[|os\.environ\.setdefault|matplotlib\.use|pyplot",
        ("environment.py",),
        id="the environment is set in one place and Matplotlib's backend nowhere",
    ),
    pytest.param(r"fcntl|msvcrt|\bflock\(", (), id="locks are filelock's"),
    pytest.param(
        r"getpid|mkstemp|mkdtemp|NamedTemporaryFile",
        ("files.py",),
        id="temporary names are made in one place, never of a process id",
    ),
    pytest.param(r"type=(int|float)\b", (), id="numbers of flags have limits"),
    pytest.param(
        r"(?<![.\w])print\(|sys\.stdout\.write|sys\.stderr\.write",
        ("cli/terminal.py",),
        id="names reach the terminal through say and complain",
    ),
    pytest.param(r"Progbar|import progressbar|rich\.", (), id="bars are tqdm's"),
    pytest.param(
        r"(?<![.\w])glob\.(i?glob)\(|gfile\.glob|matching_files",
        (),
        id="no path is read as a pattern",
    ),
    pytest.param(
        r"io\.decode_(jpeg|png|image|bmp|gif)|io\.read_file|imread\(|imdecode\(|Image\.open\(",
        ("imaging/decoder.py", "imaging/pillow.py", "evaluation/report.py"),
        id="images are decoded where size, end and orientation are checked",
    ),
    pytest.param(
        r"os\.walk\(|\.rglob\(\"\*\"\)",
        ("files.py", "inference/exported.py", "server/versions.py"),
        id="folders of people are walked by one rule: walk_files",
    ),
    pytest.param(r"^\s*assert ", (), id="no assert in library code"),
]


# How this project used to speak, and no engineer of the field does.
ODD_WORDS = re.compile(
    r"\bmend(s|ed|ing)?\b|leave (it|them) away|of no account|passed over|passes it over"
    r"|from chance|tells? of every|makes one update after another|is shortened to|lowest face"
    r"|names stand in|another setting is told",
    re.IGNORECASE,
)
TEXTS = [
    path
    for pattern in ("ssh_tf/**/*.py", "docs/**/*.md", "configs/**/*.yaml", "export/*.md", "*.md")
    for path in sorted(ROOT.glob(pattern))
    if path.name != "CHANGELOG.md"
]


def test_texts_are_plain_english():
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in TEXTS
        for match in ODD_WORDS.finditer(path.read_text(encoding="utf-8"))
        if "lowest face prob" not in path.read_text(encoding="utf-8")[match.start() :][:20]
    ]
    assert found == []


def test_no_module_is_longer_than_300_lines():
    long = {name: lines for name, text in SOURCES.items() if (lines := text.count("\n")) > 300}
    assert long == {}


@pytest.mark.parametrize(("pattern", "allowed"), RULES)
def test_a_kind_of_fault_stays_out(pattern: str, allowed: tuple[str, ...]):
    found = [
        f"{name}:{number}: {line.strip()}"
        for name, text in SOURCES.items()
        if name not in allowed
        for number, line in enumerate(text.splitlines(), start=1)
        if re.search(pattern, line)
    ]
    assert found == []


def messages(tree: ast.Module) -> list[ast.Constant]:
    """Returns the strings of a module that are no docstrings."""
    documents = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node.body
        if isinstance(node.body[0], ast.Expr)
    }
    documents |= {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)
    }  # documented fields
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if id(node) not in documents
    ]


def test_library_errors_speak_of_arguments_and_not_of_flags():
    found = [
        f"{name}:{constant.lineno}: {constant.value}"
        for name, text in SOURCES.items()
        if not name.startswith("cli/")
        for constant in messages(ast.parse(text))
        # A string that is nothing but a flag is another program's; a whole command may be named.
        if re.search(r"(?<!\w)--[a-z]", re.sub(r"`ssh-tf [^`]*`", "", constant.value))
        if " " in constant.value.strip()
    ]
    assert found == []


def test_functions_are_short():
    lengths = sorted(
        node.end_lineno - node.body[0].lineno + 1 - _docstring_lines(node)
        for text in SOURCES.values()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef)
    )
    assert lengths[len(lengths) // 2] <= 8
    assert lengths[len(lengths) * 9 // 10] <= 20


def _docstring_lines(node: ast.FunctionDef) -> int:
    first = node.body[0]
    if not ast.get_docstring(node, clean=False):
        return 0
    return first.end_lineno - first.lineno + 1
