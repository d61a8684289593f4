"""A record of the journal as a person sees it: one line of the list, or everything about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from station.cli.rows import Column, Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table
    from rich.text import Text

    from station.journal.reading import JournalEvent
    from station.journal.record import PartRecord

VERDICT_STYLES = {"accept": "green", "reject": "red", "fault": "yellow"}

COLUMNS = (
    Column("record", right=True),
    Column("part", right=True),
    Column("triggered"),
    Column("verdict"),
    Column("class", spare=1),
    Column("confidence", right=True, spare=3),
    Column("bin", right=True, spare=2),
    Column("put-into", spare=4),
    Column("ms", right=True, spare=5),
)
"""The columns of the list; after them comes the reason."""


def line(record: PartRecord) -> Row:
    """One record as a row of the list."""
    sure = "" if record.confidence is None or record.outcome == "fault" else f"{record.confidence:.3f}"
    decided = record.stages_ms.get("decided")
    put, style = _put(record)
    problem = f"; {record.ack_problem}" if record.acknowledged is False and record.ack_problem else ""
    said = {None: "open", True: f"bin-{record.ack_bin}", False: "not-acknowledged"}[record.acknowledged]
    return Row(
        cells=(
            str(record.record_id),
            str(record.part_id),
            local(record.opened_at).replace(" ", "T"),
            record.outcome or "open",
            record.class_name or "",
            sure,
            "" if record.bin is None else str(record.bin),
            said,
            "" if decided is None else f"{decided:.0f}",
        ),
        styles=("", "", "", VERDICT_STYLES.get(record.outcome or "", "dim"), "", "", "", style, ""),
        remark=(record.reason or put) + problem,
        important=record.outcome != "accept" or bool(problem),
    )


def record_table(record: PartRecord, later: Sequence[JournalEvent] = ()) -> Table:
    """The record of a part, one row per property; ``later`` are the events written for it afterwards."""
    from rich.table import Table
    from rich.text import Text

    from station.cli.text import printable, styled, told

    table = Table(title=f"record {record.record_id}", title_justify="left", show_header=False, box=None)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    mode = record.mode + (", simulated" if record.is_simulated else "")
    rows: list[tuple[str, object]] = [
        ("part", f"{record.part_id}" + (f", {record.serial_number}" if record.serial_number else "")),
        ("station", f"{record.station} ({mode})"),
        ("triggered", f"{local(record.opened_at)} local, {record.opened_at}"),
        ("recipe", f"{record.recipe} version {record.recipe_version}, {record.recipe_digest}"),
    ]
    given = (("lot", record.lot), ("shift", record.shift), ("operator", record.operator))
    rows += [(name, value) for name, value in given if value]
    if record.software_version:
        digest = f", configuration {record.config_digest}" if record.config_digest else ""
        rows.append(("software", f"{record.software_version}{digest}"))
    if record.requested_recipe:
        rows.append(("requested recipe", record.requested_recipe))
    if record.outcome is None:
        rows.append(("verdict", "none yet: the part is in hand, or in doubt after a crash"))
    else:
        sure = "" if record.outcome == "fault" else f", {record.class_name} {record.confidence:.4f}"
        patch = "" if record.patch is None else f", patch {record.patch}"
        rows.append(("verdict", _verdict(record) + told(f"{sure}{patch}, to bin {record.bin}")))
        rows.append(("reason", record.reason or ""))
        put, style = _put(record)
        rows.append(("put into", Text(printable(put), style)))
    if record.frame_id is not None:
        whole = "complete" if record.frame_complete else "INCOMPLETE"
        rows.append(("frame", f"{record.frame_id}, {whole}, {record.lost_before} lost before it"))
    if record.camera_model or record.camera_serial:
        exposed = "" if record.exposure_us is None else f", exposure {record.exposure_us:g} us"
        named = " ".join(filter(None, (record.camera_model, record.camera_serial)))
        rows.append(("camera", named + exposed))
    if record.region is not None:
        x, y, width, height = record.region
        lean = f", leaning {record.region_lean_x} x {record.region_lean_y} px" if record.region_lean_x else ""
        rows.append(("product", f"x {x} y {y}, {width} x {height} px{lean}"))
    if record.engine_digest is not None:
        rows.append(("engine", f"{record.engine_digest} on {record.backend} {record.precision}"))
    if record.recovered:
        rows.append(("closed", "at the next start of the station, after a crash or a power cut"))
    for event in later:
        said = ", ".join(f"{name} {value}" for name, value in event.values.items())
        rows.append((event.kind, f"{said}; {local(event.at)}"))
    for name, value in rows:
        table.add_row(styled("[dim]{}[/]", name), value if isinstance(value, Text) else told(value))
    return table


def stage_table(record: PartRecord) -> Table:
    """When the part reached its stages."""
    from rich.table import Table

    table = Table(title="stages", title_justify="left", box=None)
    table.add_column("")
    table.add_column("ms after the trigger", justify="right")
    table.add_column("ms since the stage before", justify="right")
    before = 0.0
    for stage, at_ms in sorted(record.stages_ms.items(), key=lambda entry: entry[1]):
        table.add_row(stage, f"{at_ms:.2f}", f"{at_ms - before:.2f}")
        before = at_ms
    return table


def score_table(record: PartRecord) -> Table:
    """One row per patch, one column per class; the class that the decision gave each patch is highlighted.

    A record of a fault, or of an older release, has no labels: nothing is highlighted.
    """
    from rich.table import Table
    from rich.text import Text

    from station.cli.text import told
    from station.decision import UNKNOWN_CLASS

    assert record.scores is not None
    scores = record.scores if record.scores.ndim == 2 else record.scores.reshape(-1, 1)
    names = record.classes.split(",") if record.classes else []
    if len(names) != scores.shape[1]:
        names = [f"class {index}" for index in range(scores.shape[1])]
    labels = record.patch_labels
    table = Table(title="scores", title_justify="left", box=None)
    for name in ("patch", *names, ""):
        table.add_column(told(name), justify="right")
    for index, row in enumerate(scores):
        label = labels.get(index, 0) if record.labels is not None else -1
        cells = []
        for column, value in enumerate(row):
            style = ("green" if column == 0 else "bold red") if column == label else "dim"
            cells.append(Text(f"{value:.4f}", style))
        decided = index == record.patch
        remark = "< unknown" if label == UNKNOWN_CLASS else "< defective" if label > 0 else ""
        remark = "< decided" if decided else remark
        table.add_row(str(index), *cells, remark, style="reverse" if decided else None)
    return table


def _verdict(record: PartRecord) -> Text:
    from rich.text import Text

    from station.cli.text import printable

    return Text(printable(record.outcome or "open"), VERDICT_STYLES.get(record.outcome or "", "dim"))


def _put(record: PartRecord) -> tuple[str, str]:
    """Where the cell says that the part went, and the style of it."""
    if record.acknowledged is None:
        return "not acknowledged yet", ""
    if record.acknowledged:
        return f"bin {record.ack_bin}", ""
    return record.ack_problem or "not acknowledged", "yellow"


def local(utc: str) -> str:
    """A time of the journal as this machine's clock shows it."""
    from datetime import datetime

    return datetime.fromisoformat(utc).astimezone().strftime("%Y-%m-%d %H:%M:%S")
