"""Tables of numbers as CSV files, one row per step."""

import csv
import io
import logging
import math
from collections.abc import Mapping
from pathlib import Path

from ssh_tf.errors import UserError
from ssh_tf.files import write_text

_LOG = logging.getLogger(__name__)

Logs = Mapping[str, float]


class Table:
    """A CSV file with one row per step, which a continued run goes on from where it begins.

    A file that can't be read is renamed, not lost, and does not stop the run.

    Args:
        path: The file; it is made with the first row.
        after: Rows of later steps are dropped: the updates they describe are made again.

    Attributes:
        rows: What the file holds.
    """

    def __init__(self, path: Path, *, after: int) -> None:
        self._path = path
        try:
            found = read_table(path)
        except UserError as error:
            aside = path.with_name(f"{path.name}.unreadable")
            _LOG.warning("%s It is now %s, and a new one is begun.", error, aside.name)
            path.replace(aside)
            found = []
        self.rows = [row for row in found if row["step"] <= after]
        if found:
            self._rewrite()

    def add(self, row: Logs) -> None:
        """Appends a row, with `step` among its columns."""
        fits = bool(self.rows) and list(self.rows[0]) == list(row)
        self.rows.append(dict(row))
        if not fits:
            self._rewrite()
            return
        with self._path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, list(row), lineterminator="\n").writerow(row)

    def _rewrite(self) -> None:
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        if self.rows:
            writer.writeheader()
        writer.writerows(self.rows)
        write_text(self._path, text.getvalue())


def read_table(path: Path) -> list[dict[str, float]]:
    """Reads a `Table`'s file, also after a spreadsheet has saved it.

    Spreadsheets put a byte order mark before it, end lines by CR LF, part cells by semicolons or
    tabs where a comma is the decimal sign, and drop `.0`.

    Returns:
        Its rows; none where there is no file. A last row that was not written to its end is left
        out; cells without a value are NaN.

    Raises:
        UserError: If the file holds no such table.
    """
    if not path.is_file():
        return []
    try:
        content = path.read_text(encoding="utf-8-sig")
        lines = [line for line in content.splitlines(keepends=True) if line.endswith("\n")]
        delimiter = next((sign for sign in ";\t" if lines and sign in lines[0]), ",")
        rows = [_numbers(row) for row in csv.DictReader(lines, delimiter=delimiter)]
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise UserError(f"{path} is not a table of numbers with a column `step`.") from error
    return rows


def _numbers(row: Mapping[str, str]) -> dict[str, float]:
    numbers = {
        key: float((value or "").replace(",", ".") or math.nan) for key, value in row.items() if key
    }
    return numbers | {"step": int(numbers["step"])}
