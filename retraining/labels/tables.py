"""Answers as a plain CSV, for those who have tools of their own."""

from __future__ import annotations

import csv
from pathlib import Path

from drivers.cameras.picture_header import claimed_size
from retraining.errors import DatasetError
from retraining.labels.answers import NO_PRODUCT, UNSURE, Answer, AnswerLog, Box
from retraining.labels.csv_files import csv_rows
from retraining.labels.pictures import Task
from station.files import replacing

COLUMNS = ("picture", "digest", "class", "x", "y", "width", "height", "by", "information")
"""A row is a person's class of a picture, with empty box columns, or the class of one box on it;
``information`` says why a station kept the part, and is not read."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_table(task: Task, log: AnswerLog, target: Path) -> int:
    """Every picture with what each person says of it, and the unlabelled ones; the number of rows."""
    rows: list[dict[str, object]] = []
    answers = {by: log.of(by) for by in log.people()}
    for picture in task.pictures:
        own = [(by, found[picture.digest]) for by, found in answers.items() if picture.digest in found]
        base: dict[str, object] = {"picture": _safe(picture.path), "digest": picture.digest}
        base["information"] = _safe(picture.information)
        rows += [{**base, "class": _safe(one.label), "by": _safe(by)} for by, one in own]
        for by, one in own:
            for box in one.boxes:
                place = {"x": box.x, "y": box.y, "width": box.width, "height": box.height}
                rows.append({**base, "class": _safe(box.label), "by": _safe(by), **place})
        if not own:
            rows.append(base)
    with replacing(target) as fresh, fresh.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return len(rows)


def read_table(task: Task, log: AnswerLog, source: Path) -> int:
    """Take the answers of a CSV file into the log; the number of pictures.

    Rows without a class are passed over. Raises :class:`DatasetError` that names every wrong line; nothing is
    taken then.
    """
    known = {picture.path: picture for picture in task.pictures}
    labels = (*task.classes, UNSURE, NO_PRODUCT)
    remedy = f"its columns are {', '.join(COLUMNS)}; `retrain label export` writes such a file"
    rows = csv_rows(source, ("picture", "class", "by"), remedy)
    whole: dict[tuple[str, str], tuple[str, int]] = {}
    boxes: dict[tuple[str, str], list[Box]] = {}
    faults: list[str] = []
    for line, row in rows:
        path, label, by = (_plain(row.get(name) or "") for name in ("picture", "class", "by"))
        if not label:
            continue
        picture = known.get(path)
        if picture is None:
            faults.append(f"line {line}: {path!r} is not a picture of the set")
            continue
        if label not in labels:
            faults.append(f"line {line}: {label!r} is no class; use one of {', '.join(labels)}")
        if not by:
            faults.append(f"line {line}: says not who labelled the picture; fill in `by`")
        if row.get("digest") and row["digest"] != picture.digest:
            faults.append(f"line {line}: {path} is not the picture that was labelled (its digest differs)")
        key = (path, by)
        if any(row.get(name) for name in COLUMNS[3:7]):
            box = _box(row, label, task.root / path)
            if isinstance(box, str):
                faults.append(f"line {line}: {box}")
            else:
                boxes.setdefault(key, []).append(box)
        elif key in whole and whole[key][0] != label:
            faults.append(f"line {line}: {by} calls {path} {label}, in line {whole[key][1]} {whole[key][0]}")
        else:
            whole[key] = (label, line)
    if faults:
        listed = "\n  ".join(faults)
        raise DatasetError(f"{source}: nothing was taken; mend these lines:\n  {listed}")
    for by in sorted({by for _, by in {*whole, *boxes}}):
        answers = []
        for path in sorted({path for path, who in {*whole, *boxes} if who == by}):
            own = tuple(boxes.get((path, by), ()))
            label = whole[path, by][0] if (path, by) in whole else own[0].label
            answers.append(Answer(path, known[path].digest, label, own))
        for start in range(0, len(answers), 5_000):
            log.append(by, answers[start : start + 5_000])
    return len({path for path, _ in {*whole, *boxes}})


def _box(row: dict[str, str], label: str, picture: Path) -> Box | str:
    """The box of a row, or what is wrong with it."""
    try:
        x, y, width, height = (int(row.get(name) or "") for name in COLUMNS[3:7])
    except ValueError:
        return "a box needs x, y, width and height in whole px"
    size = claimed_size(picture.read_bytes())
    if size is not None and (x < 0 or y < 0 or x + width > size[0] or y + height > size[1]):
        return f"the box reaches beyond the picture of {size[0]} x {size[1]} px"
    if width < 1 or height < 1:
        return "the box is empty"
    return Box(label, x, y, width, height)


def _safe(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _plain(text: str) -> str:
    text = text.strip()
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text
