"""``station inspect``: the station's own patching, engine and decision, applied to picture files."""

from __future__ import annotations

import csv
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from station.cli.ending import ExitCode
from station.cli.parameters import FILE_MADE, FOLDER_MADE, refuse_given
from station.cli.rows import Column, Row, print_rows
from station.cli.show_patches import show_patches

if TYPE_CHECKING:
    from station.decision import Verdict
    from station.engines.interface import Engine
    from station.patching import Patches
    from station.recipe import Recipe

log = logging.getLogger(__name__)

_NEED_AN_ENGINE = (
    "engines", "backend", "precision", "threads", "csv_file", "json_file", "overlays", "all_overlays",
)  # fmt: skip
PatchDetails = dict[str, Any]
"""The patches in the JSON file: ``patch_scores``, ``patch_labels`` (0 = not defective), ``patch_novelty``."""


@dataclass(frozen=True, slots=True)
class Inspected:
    """One line of the table and of the CSV and JSON files."""

    file: str
    outcome: str
    class_name: str
    confidence: float
    patch: int | None
    bin: int
    reason: str
    score: float
    """The part's highest defect probability over all patches, 0..1; 1 where it could not be inspected."""
    x_mm: float | None
    """Where the middle of the named patch lies on the product, mm from its left edge; None for a fault."""
    y_mm: float | None
    """The same, mm from its top edge."""
    milliseconds: float
    """Picture in memory to verdict."""


def inspect(
    context: typer.Context,
    paths: Annotated[
        list[Path],
        typer.Argument(help="Pictures, or folders of pictures.", metavar="PATH..."),
    ],
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe",
            "-r",
            help="The recipe's name, or the path of a recipe file. NAME@WIDTH allows one width, px; "
            "without it, every width of the recipe is allowed.",
        ),
    ],
    recipes: Annotated[Path, typer.Option(help="The folder of recipes.")] = Path("recipes"),
    engines: Annotated[Path, typer.Option(help="The folder of engines.")] = Path("engines"),
    backend: Annotated[
        str, typer.Option(help="The back end; 'auto' takes the fastest one that is proven on this machine.")
    ] = "auto",
    precision: Annotated[str, typer.Option(help="fp32, bf16, fp16, int8 or auto.")] = "auto",
    threads: Annotated[int, typer.Option(min=1, max=256, help="Processor threads for the engine.")] = 2,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write one row per picture to this file."), FILE_MADE
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write everything to this file, with the scores of every patch."),
        FILE_MADE,
    ] = None,
    overlays: Annotated[
        Path | None,
        typer.Option(
            help="Write each rejected picture, with frames around its defective patches, to this folder."
        ),
        FOLDER_MADE,
    ] = None,
    all_overlays: Annotated[
        bool, typer.Option("--all-overlays", help="Write overlays of accepted pictures too.")
    ] = False,
    show_cuts: Annotated[
        Path | None,
        typer.Option(
            "--show-patches",
            help="Only draw how the recipe cuts each picture, into this folder; no engine is needed.",
        ),
        FOLDER_MADE,
    ] = None,
) -> None:
    """Inspect picture files with a recipe, with the same code and the same active engine as the line.

    A picture that cannot be read or cut into patches is a fault; the command continues with the next one.
    For a recipe with several lamps, a part's pictures are named by the outputs that lit them, as in
    part-output-01.png and part-output-02.png.
    The same holds for a folder below PATH that cannot be read, and for an overlay that cannot be written.

    Exit code: 0 all accepted, 1 some rejected, 3 some could not be inspected, 2 the command could not start.

    Examples:
        station inspect part.png --recipe servo-motor-housing

        station inspect large.png --recipe servo-motor-housing@1575

        station inspect frames/ -r servo-motor-housing --csv verdicts.csv --overlays overlays/

        station inspect frames/ -r my-recipe.yaml --show-patches cuts/

    """
    from rich.console import Console
    from rich.progress import track

    from drivers.cameras.picture_files import shown
    from station.cli.text import told
    from station.engines import open_engine
    from station.engines.adapted import recipe_for
    from station.engines.folder import load_manifest
    from station.engines.store import Store
    from station.recipe import recipe_and_width

    console = Console()
    prepared, width_px = recipe_and_width(recipe, recipes)
    pictures = find_pictures(paths)
    if show_cuts is not None:
        refuse_given(context, _NEED_AN_ENGINE, "with --show-patches")
        show_patches(pictures, common_folder(pictures), prepared, width_px, show_cuts)
        return
    if overlays is not None:
        overlays.mkdir(parents=True, exist_ok=True)
    judge = Store(engines, prepared.engine).active()
    prepared = recipe_for(prepared, judge)
    manifest = load_manifest(judge.folder, judge.name)
    engine = open_engine(manifest, backend=backend, precision=precision, threads=threads, recipe=prepared)
    try:
        rows: list[Inspected] = []
        details: list[PatchDetails] = []
        not_drawn: list[str] = []
        common = common_folder(pictures)
        parts = parts_in(pictures, prepared)
        alike = Counter(path.with_suffix("") for path in parts)
        for path, frames in track(parts.items(), "inspecting", console=Console(stderr=True), transient=True):
            overlay = None
            if overlays is not None:  # p.png and p.bmp of one folder need two names
                overlay = overlays / path.absolute().relative_to(common)
                overlay = overlay.with_suffix("") if alike[path.with_suffix("")] == 1 else overlay
            row, detail, problem = _inspect_one(
                path, frames, prepared, width_px, engine, overlay, all_overlays
            )
            rows.append(row)
            details.append(detail)
            not_drawn += [problem] if problem else []
    finally:
        engine.close()

    info = engine.info
    console.print(
        told(f"{shown(common)}: engine {info.name} {info.digest[:12]} on {info.backend} {info.precision}"),
        soft_wrap=True,
    )
    print_rows(console, COLUMNS, [_row(row, common) for row in rows], "reason")
    if csv_file is not None:
        _write_csv(csv_file, rows)
    if json_file is not None:
        _write_json(json_file, rows, details, prepared, engine)
    outcomes = Counter(row.outcome for row in rows)
    console.print(
        f"{len(rows)} pictures: {outcomes['accept']} accepted, {outcomes['reject']} rejected, "
        f"{outcomes['fault']} could not be inspected",
        highlight=False,
    )
    for problem in not_drawn:
        print(f"no overlay: {problem}", file=sys.stderr)
    if outcomes["fault"] or not_drawn:
        raise typer.Exit(ExitCode.FAULTS)
    if outcomes["reject"]:
        raise typer.Exit(ExitCode.FINDINGS)


def find_pictures(paths: Sequence[Path]) -> list[Path]:
    """The files named, and every picture below the folders named, in a stable order."""
    from drivers.cameras.picture_files import PICTURE_SUFFIXES, linked_folders, pictures_in, shown

    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = pictures_in(path, recursive=True)
            if not inside:
                known = " ".join(sorted(PICTURE_SUFFIXES))
                raise typer.BadParameter(f"no pictures in {path}; known endings: {known}")
            found += inside
            for link in linked_folders(path):
                print(f"note: {shown(link)} is a link to a folder and was not followed", file=sys.stderr)
        elif path.exists():
            found.append(path)
        else:
            raise typer.BadParameter(f"{path} does not exist")
    return found


def parts_in(pictures: Sequence[Path], recipe: Recipe) -> dict[Path, list[Path]]:
    """Each part's path, and its pictures: itself, or those under the lamps of the recipe, in their order.

    Under lamps, ``part-output-02.png`` is the picture of ``part`` at output 2. A part that has not exactly
    one picture per lamp keeps what there is, and is a fault.
    """
    from drivers.cameras.picture_files import by_lamps

    if recipe.stereo is None:
        return {path: [path] for path in pictures}
    outputs = [lamp.output for lamp in recipe.stereo.lamps]
    parts = {}
    for path, lit in by_lamps(pictures).items():
        own = [picture for wanted in outputs for output, picture in lit if output == wanted]
        # As many as there are lamps are judged: one of another lamp must not fill the place of a missing one.
        missing = not set(outputs) <= {output for output, _ in lit}
        parts[path] = own[: len(outputs) - 1] if missing else own + [one for _, one in lit if one not in own]
    return parts


def common_folder(pictures: Sequence[Path]) -> Path:
    """The deepest folder that holds every picture; what lies below it tells them apart."""
    return Path(os.path.commonpath([picture.absolute().parent for picture in pictures]))


def _inspect_one(
    path: Path,
    frames: Sequence[Path],
    recipe: Recipe,
    width_px: int | None,
    engine: Engine,
    overlay: Path | None,
    all_overlays: bool,
) -> tuple[Inspected, PatchDetails, str]:
    """The part's row, its patches, and why its overlay was not written, where it was not.

    The overlay is drawn on the first frame.
    """
    from drivers.cameras.picture_files import read_image, shown
    from drivers.errors import InspectionError
    from drivers.sorters.interface import Outcome
    from station.decision import decide, fault
    from station.engines.interface import EngineError
    from station.faults import Code
    from station.patching import PatchingError, cut_part
    from station.pictures.saving import PictureError, write_overlay

    patches: Patches | None = None
    scores = novelty = None
    started = time.perf_counter()
    try:
        white = recipe.product.sixteen_bit_white
        pixels = [read_image(frame, sixteen_bit_white=white) for frame in frames]
        started = time.perf_counter()
        patches = cut_part(pixels, recipe, width_px)
        found = engine.scores(patches.pixels)
        scores, novelty = found.probabilities, found.novelty
        verdict: Verdict = decide(scores, recipe, novelty)
    except PatchingError as error:
        verdict = fault(error.code.of(str(error)), recipe)
    except EngineError as error:
        verdict = fault(Code.NO_SCORES.of(str(error)), recipe)
    except InspectionError as error:
        verdict = fault(Code.BAD_FRAME.of(str(error)), recipe)
    except Exception as error:  # this picture's own: the others are inspected, and the exit code says so
        log.exception("%s", shown(path))
        code = Code.CUTTING_FAILED if patches is None else Code.ENGINE_ERROR
        verdict = fault(code.of(f"an error of this software ({error!r}); please report it"), recipe)
    milliseconds = (time.perf_counter() - started) * 1000
    not_drawn = ""
    if overlay is not None and patches is not None and (all_overlays or verdict.outcome is Outcome.REJECT):
        target = overlay.with_name(f"{overlay.name}.{verdict.outcome}.png")
        try:
            write_overlay(target, pixels[0], patches, scores, verdict, recipe)
        except PictureError as error:
            not_drawn = str(error)
    score = 1.0 if scores is None or verdict.outcome is Outcome.FAULT else float(1 - scores[:, 0].min())
    place = patches.box_mm(verdict.patch) if patches is not None and verdict.patch is not None else None
    row = Inspected(
        file=shown(path),
        outcome=verdict.outcome.value,
        class_name=verdict.class_name,
        confidence=verdict.confidence,
        patch=verdict.patch,
        bin=verdict.bin,
        reason=verdict.reason,
        score=score,
        x_mm=None if place is None else round(place.x + place.width / 2, 2),
        y_mm=None if place is None else round(place.y + place.height / 2, 2),
        milliseconds=milliseconds,
    )
    table = None if scores is None else [[float(p) for p in line] for line in scores]
    far = None if novelty is None else [float(value) for value in novelty]
    detail = {"patch_scores": table, "patch_labels": list(verdict.labels), "patch_novelty": far}
    return row, detail, not_drawn


COLUMNS = (
    Column("picture"),
    Column("verdict"),
    Column("class", spare=1),
    Column("confidence", right=True, spare=2),
    Column("bin", right=True, spare=3),
    Column("at-mm", spare=4),
)
"""The columns of the list; after them comes the reason."""


def _row(row: Inspected, common: Path) -> Row:
    from drivers.cameras.picture_files import shown
    from station.cli.live import STYLES

    style = next(style for outcome, style in STYLES.items() if outcome.value == row.outcome)
    return Row(
        cells=(
            str(Path(row.file).absolute().relative_to(shown(common))),
            row.outcome,
            row.class_name,
            "" if row.outcome == "fault" else f"{row.confidence:.3f}",
            str(row.bin),
            "" if row.x_mm is None or row.outcome != "reject" else f"{row.x_mm:.1f},{row.y_mm:.1f}",
        ),
        styles=("", style, "", "", "", ""),
        remark=row.reason.replace(f"{row.file}: ", "", 1),
        important=row.outcome != "accept",
    )


def _write_csv(path: Path, rows: list[Inspected]) -> None:
    from station.files import replacing

    with replacing(path) as fresh, fresh.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(Inspected.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def _write_json(
    path: Path, rows: list[Inspected], details: list[PatchDetails], recipe: Recipe, engine: Engine
) -> None:
    from station.files import write_json

    document = {
        "recipe": {"name": recipe.name, "version": recipe.version, "digest": recipe.digest},
        "engine": asdict(engine.info),
        "classes": [entry.name for entry in recipe.classes],
        "pictures": [asdict(row) | detail for row, detail in zip(rows, details, strict=True)],
    }
    write_json(path, document)
