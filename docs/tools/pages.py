"""Pages that are made when the site is built: from the parser, the modules, the decisions."""

import argparse
import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import ssh_tf
from docs.tools.outside import DOCS
from ssh_tf.cli import parser

# What nobody imports: the command line and the entry of `python -m ssh_tf`.
_NOT_IMPORTED = ("cli", "__main__")


def commands_page() -> str:
    """Returns the reference of `ssh-tf` as Markdown, as its parser has it."""
    root = parser()
    (commands,) = (a for a in root._actions if isinstance(a, argparse._SubParsersAction))
    rows = [
        f"| [`{choice.dest}`](#ssh-tf-{choice.dest}) | {_cell(str(choice.help))} |"
        for choice in commands._choices_actions
    ]
    sections = [_command(name, command) for name, command in commands.choices.items()]
    head = ["# Commands", "", "As `ssh-tf COMMAND --help` has them.", "", *_HEAD]
    return "\n".join([*head, *rows, "", *sections])


_HEAD = ("| | |", "|---|---|")


def _command(name: str, command: argparse.ArgumentParser) -> str:
    """Returns a command's section: what it does, an example, a table for each group of flags."""
    text, example = str(command.description), str(command.epilog).removeprefix("example:\n").strip()
    lines = [f"## ssh-tf {name}", "", f"{text[:1].upper()}{text[1:]}.", ""]
    lines += ["```", example, "```", ""]
    for group in command._action_groups:
        actions = [a for a in group._group_actions if _is_own(a)]
        if actions:
            # The first two groups have argparse's own titles.
            own = group.title not in ("options", "positional arguments")
            lines += [f"**{str(group.title).capitalize()}**", ""] if own else []
            helps = [command._get_formatter()._expand_help(a) if a.help else "" for a in actions]
            rows = [f"| {_flag(a)} | {_cell(h)} |" for a, h in zip(actions, helps, strict=True)]
            lines += [*_HEAD, *rows, ""]
    return "\n".join(lines)


def _is_own(action: argparse.Action) -> bool:
    """Whether a flag is this command's, not one of all programs or of absl."""
    own = type(action).__module__ == argparse.__name__ and action.help != argparse.SUPPRESS
    return own and action.dest != "help"


def _flag(action: argparse.Action) -> str:
    """Returns a flag with its value, or a positional argument."""
    words = ", ".join(action.option_strings) or str(action.metavar or action.dest)
    if action.option_strings and action.nargs != 0:
        choices = "|".join(str(choice) for choice in action.choices or ())
        words += f" {choices or action.metavar or action.dest.upper()}"
    return f"`{_cell(words)}`"


def _cell(text: str) -> str:
    """Returns a text as a cell of a table."""
    return text.replace("|", "\\|")


def packages() -> dict[str, list[str]]:
    """Returns the packages and modules directly in `ssh_tf`, each with all its modules."""
    found: dict[str, list[str]] = {}
    for module in pkgutil.walk_packages(ssh_tf.__path__, "ssh_tf."):
        top = module.name.split(".")[1]
        if top not in _NOT_IMPORTED:
            found.setdefault(f"ssh_tf.{top}", []).append(module.name)
    return dict(sorted(found.items()))


def python_pages() -> Iterator[tuple[str, str]]:
    """Yields name and reStructuredText of the pages of the Python reference."""
    names = packages()
    rows = [f"* - :doc:`{name} <{name}>`\n     - {_first_line(name)}" for name in names]
    yield (
        "api/index.rst",
        "\n".join(
            [
                _title("Python", "="),
                "What `ssh_tf` itself has; everything else is imported from its module.\n",
                ".. automodule:: ssh_tf\n   :no-members:\n",
                ".. autofunction:: ssh_tf.load\n",
                ".. list-table::\n   :widths: 30 70\n",
                *(f"   {row}" for row in rows),
                "\n.. toctree::\n   :hidden:\n",
                *(f"   {name}" for name in names),
                "",
            ]
        ),
    )
    for name, modules in names.items():
        parts = [_title(name, "="), f".. automodule:: {name}\n   :members:\n"]
        for module in modules[1:]:
            parts += [_title(module, "-"), f".. automodule:: {module}\n   :members:\n"]
        yield f"api/{name}.rst", "\n".join(parts)


def _title(text: str, mark: str) -> str:
    return f"{text}\n{mark * len(text)}\n"


def _first_line(module: str) -> str:
    return (
        str(inspect.getdoc(importlib.import_module(module))).partition("\n\n")[0].replace("\n", " ")
    )


def decisions_page() -> str:
    """Returns the list of all decisions as Markdown."""
    rows, names = [], []
    for path in sorted((DOCS / "decisions").glob("[0-9]*.md")):
        lines = path.read_text(encoding="utf-8").splitlines()
        number, _, title = lines[0].removeprefix("# ").partition(" ")
        status = next(line for line in lines if line.startswith("Status: "))
        rows.append(f"| [{number}]({path.name}) | {title} | {status.removeprefix('Status: ')} |")
        names.append(path.stem)
    text = "Why things are as they are: context, options, decision, consequences, confirmation."
    head = ["# Decisions", "", text, "", "| | decision | status |", "|---|---|---|"]
    return "\n".join([*head, *rows, "", "```{toctree}", ":hidden:", "", *names, "```", ""])
