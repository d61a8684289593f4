"""CSV files from outside, which may be anything."""

from __future__ import annotations

import csv
from pathlib import Path

from drivers.regular_files import read_text
from retraining.errors import DatasetError


def csv_rows(file: Path, needed: tuple[str, ...], remedy: str) -> list[tuple[int, dict[str, str]]]:
    """The line number and the cells of each row, by column; absent cells are empty.

    Raises :class:`DatasetError` for a file that is no text, no CSV, or lacks a column of ``needed``.
    """
    try:
        reader = csv.DictReader(read_text(file).splitlines(), restval="")
        rows = [
            (reader.line_num, {k: v for k, v in row.items() if isinstance(k, str) and isinstance(v, str)})
            for row in reader
        ]
    except OSError as error:
        raise DatasetError(f"{file} cannot be read ({error.strerror}); {remedy}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{file} is not a CSV file in UTF-8 ({error}); {remedy}") from None
    absent = [name for name in needed if name not in (reader.fieldnames or ())]
    if absent:
        raise DatasetError(f"{file} lacks the columns {', '.join(absent)}; {remedy}")
    return rows
