"""Groups that a person declares: by folder, by a part of the file name, or by a table.

A group is what a split never cuts: one part, one position in a jig, one shift. Declared groups are kept as
they are; the search for duplicates reports what it finds between them and joins none of them.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from drivers.cameras.picture_files import shown
from drivers.regular_files import open_regular
from retraining.data.listing import counted_note
from retraining.data.manifest import Dataset
from retraining.errors import BadFilesError, DatasetError

FOLDER = "folder"
"""In place of a regular expression: every folder of pictures is one group."""
_MOST_BYTES = 64_000_000


def declare_groups(dataset: Dataset, *, by: str = "", table: Path | None = None) -> Dataset:
    """The set with the groups that a person declares, and a note on pictures for which none is declared.

    ``by`` is :data:`FOLDER`, or a regular expression that is searched for in each path, whose named group
    ``group`` is the group's name. ``table`` is a CSV file with the columns ``path`` and ``group``. A picture
    without a declared group keeps its own. Raises :class:`DatasetError`.
    """
    if by and table is not None:
        raise DatasetError("groups are declared by --group-by or by --groups, not by both; leave one of them")
    if by:
        name_of: Callable[[str], str | None] = _by_folder if by == FOLDER else _by_expression(by)
    elif table is not None:
        named = _read_table(table)
        name_of = named.get
    else:
        return dataset
    paths = sorted({picture.path for picture in dataset.pictures})
    groups = {path: name for path in paths if (name := name_of(path))}
    if not groups:
        source = f"--group-by {by!r}" if by else shown(str(table))
        raise DatasetError(
            f"{source} names the group of no picture, such as {shown(paths[0])}; compare it with the paths "
            "of the pictures, which are counted from their folder"
        )
    clash = sorted(set(groups.values()) & set(paths))
    if clash:
        raise DatasetError(
            f"the group {shown(clash[0])} has the name of a picture; give groups names of their own"
        )
    notes = counted_note(
        "pictures have no declared group and may be joined with duplicates",
        [path for path in paths if path not in groups],
    )
    if table is not None:
        unmet = sorted(set(named) - set(paths))
        notes += counted_note(f"paths of {table.name} are of no picture of the set", unmet)
    pictures = (replace(p, group=groups.get(p.path, p.group)) for p in dataset.pictures)
    return dataset.with_pictures(pictures, *notes)


def is_declared(dataset: Dataset) -> Callable[[str], bool]:
    """Whether a person named a group of this set: undeclared ones have the path of one of its pictures."""
    paths = {picture.path for picture in dataset.pictures}
    return lambda group: group not in paths


def _by_folder(path: str) -> str:
    return PurePosixPath(path).parent.as_posix()


def _by_expression(pattern: str) -> Callable[[str], str]:
    try:
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise DatasetError(
            f"--group-by {pattern!r} is neither {FOLDER!r} nor a regular expression: {error}"
        ) from None
    if "group" not in compiled.groupindex:
        raise DatasetError(f"--group-by {pattern!r} has no named group (?P<group>...); see --help")

    def name(path: str) -> str:
        match = compiled.search(path)
        return (match["group"] or "") if match else ""

    return name


def _read_table(table: Path) -> Mapping[str, str]:
    """Group names by path. Raises :class:`DatasetError` with all faults of the file."""
    where = shown(str(table))
    try:
        with open_regular(table) as file:
            if os.fstat(file.fileno()).st_size > _MOST_BYTES:
                raise DatasetError(f"{where} is larger than {_MOST_BYTES // 1_000_000} MB; name another file")
            text = file.read().decode("utf-8-sig")
        rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        columns = rows.fieldnames or ()
        if not {"path", "group"} <= set(columns):
            raise DatasetError(
                f"{where} has the columns {', '.join(map(shown, columns)) or 'none'} in its first line; it "
                "needs path and group, separated by commas"
            )
        lines = [(rows.line_num, row["path"] or "", row["group"] or "") for row in rows]
    except OSError as error:
        raise DatasetError(f"{where} cannot be read ({error.strerror}); check the path") from None
    except UnicodeDecodeError:
        raise DatasetError(f"{where} is not UTF-8; save the table as CSV in UTF-8") from None
    except csv.Error as error:
        raise DatasetError(f"{where} is not a CSV file: {error}; save the table as CSV again") from None
    groups: dict[str, str] = {}
    faults = []
    for number, given, name in lines:
        path, group = given.strip().replace("\\", "/"), name.strip()
        if not path or not group:
            faults.append(f"{where} line {number}: the {'path' if not path else 'group'} is empty")
        elif groups.setdefault(path, group) != group:
            faults.append(
                f"{where} line {number}: {shown(path)} is in {shown(groups[path])} and in {shown(group)}; "
                "keep one line"
            )
    if faults:
        raise DatasetError(faults[0] + "; mend it") if len(faults) == 1 else BadFilesError(tuple(faults))
    return groups
