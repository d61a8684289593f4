"""The readers of what stations saw: a rare log, parts received by hand-off, frames of a simulated plant.

A label is a person's word: a review at the station, or an answer given on the page of ``retrain label``. The
station's own verdict is kept beside it as a label by the station, which training leaves out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from drivers.cameras.picture_files import shown
from retraining.data.kept_parts import KeptPart, is_rare_log, is_received, kept_parts
from retraining.data.listing import Named, class_order, counted_note, make_dataset
from retraining.data.manifest import Dataset, file_digest
from retraining.data.outlines import Outline
from retraining.errors import BadFilesError, DatasetError
from retraining.labels.answers import NO_PRODUCT, UNSURE, AnswerLog
from retraining.labels.applying import outline_of
from retraining.surfaces.reading import Reporter, silent
from simulation.truth import CLASS_NAMES, TruthBook
from station.journal.reading import JournalReader
from station.pictures.saving import INDEX as DRAWN

TRUTHS = "truth.jsonl"
"""What ``station simulate`` writes beside its frames."""

Words = dict[str, str]
"""What each person says of one part now, by name."""


@dataclass(frozen=True, slots=True)
class Received:
    """Parts that ``retrain receive`` wrote below ``folder``."""

    folder: Path
    recipe: str = ""
    """The product; "" where all parts are of one."""
    classes: tuple[str, ...] = ()
    report: Reporter = silent

    def read(self) -> Dataset:
        """See :class:`retraining.data.readers.Reader`."""
        if not is_received(self.folder):
            raise DatasetError(
                f"{shown(self.folder)} is no folder of `retrain receive`; name the one that its --out named, "
                "or use `retrain data from-station` for a station's own rare log"
            )
        return _labelled(
            self.folder, kept_parts(self.folder), {}, [], self.recipe, self.classes, "received", self.report
        )


@dataclass(frozen=True, slots=True)
class FromStation:
    """A station's rare log (``paths.rare``), or the frames and the truth that ``station simulate`` wrote."""

    folder: Path
    recipe: str = ""
    journal: Path | None = None
    """Its reviews count, too: the log may be an older copy."""
    classes: tuple[str, ...] = ()
    report: Reporter = silent

    def read(self) -> Dataset:
        """See :class:`retraining.data.readers.Reader`."""
        if is_rare_log(self.folder):
            parts = kept_parts(self.folder)
            reviews, notes = ({}, []) if self.journal is None else _reviews(self.journal, parts)
            return _labelled(
                self.folder, parts, reviews, notes, self.recipe, self.classes, "station", self.report
            )
        if (self.folder / TRUTHS).is_file():
            if self.recipe or self.journal is not None:
                raise DatasetError(
                    "--recipe and --journal are for a rare log, but this folder holds frames with their "
                    f"truth ({TRUTHS}); leave them out"
                )
            return self._frames()
        if (self.folder / DRAWN).is_file():
            raise DatasetError(
                f"{shown(self.folder)} holds pictures into which the station drew its verdicts: a network "
                "would learn the drawings; use the rare log, which keeps surfaces as they are (`paths.rare` "
                "in the configuration)"
            )
        raise DatasetError(
            f"{shown(self.folder)} is neither a station's rare log (`paths.rare`) nor a folder of "
            f"`station simulate` ({TRUTHS}); for folders of pictures use `retrain data from-folders`"
        )

    def _frames(self) -> Dataset:
        truths = [truth for truth in TruthBook.load(self.folder) if truth.file]
        if not truths:
            raise DatasetError(f"{shown(self.folder / TRUTHS)} names no frames; make them again")
        entries = [(Named(truth.file, truth.label, f"seed {truth.seed}"), None) for truth in truths]
        there = {truth.label for truth in truths}
        classes = class_order(there, self.classes) if self.classes else _in_order(CLASS_NAMES, there)
        return make_dataset(
            self.folder, classes, entries, source="rendered", labelled_by="renderer", notes=[],
            report=self.report,
        )  # fmt: skip


def _reviews(journal: Path, parts: list[KeptPart]) -> tuple[dict[tuple[str, int], Words], list[str]]:
    """What persons said in a journal of these parts, by journal and record, the last word of each."""
    found: dict[tuple[str, int], Words] = defaultdict(dict)
    with JournalReader(journal) as reader:
        own = reader.head().journal_id
        for event in reader.station_events(("review",)):
            found[own, event.record_id][str(event.values["by"])] = str(event.values["class_name"])
    kept = {(part.item.journal_id, part.item.record_id) for part in parts}
    if kept and own not in {name for name, _ in kept}:
        raise DatasetError(
            f"{shown(journal)} is not the journal of these parts; name the one of their station, or leave "
            "--journal out"
        )
    lost = [f"record {record}" for name, record in found if (name, record) not in kept]
    return found, counted_note("reviews in the journal are of parts without a picture in the log", lost)


def _labelled(
    folder: Path,
    parts: list[KeptPart],
    reviews: Mapping[tuple[str, int], Words],
    notes: list[str],
    recipe: str,
    wanted: tuple[str, ...],
    source: str,
    report: Reporter,
) -> Dataset:
    """The parts with a label by a person, and the others with the station's. Raises :class:`DatasetError`."""
    own = _of_one_recipe(folder, parts, recipe)
    words, marks = _words(folder, own, reviews)
    labels: dict[str, str] = {}
    label_them = f"label them by `retrain label page {folder}`"
    left: dict[str, list[str]] = defaultdict(list)
    known = max(own, key=lambda part: part.item.kept_at).item.classes
    entries: list[tuple[Named, None]] = []
    for part in own:
        said = set(words[part.path].values())
        if len(said) > 1:
            named = ", ".join(f"{by}: {label}" for by, label in sorted(words[part.path].items()))
            left["parts are left out, because two people differ"].append(f"{part.path} ({named})")
            continue
        if said & {UNSURE, NO_PRODUCT}:
            left["parts are left out, because a person is not sure or saw no product"].append(part.path)
            continue
        if said:
            labels[part.path] = said.pop()
        elif part.item.class_name not in part.item.classes:
            left[f"parts have no label, and the station named no class; {label_them}"].append(
                f"{part.path} ({part.item.class_name})"
            )
            continue
        entries.append((Named(part.path, labels.get(part.path, part.item.class_name), part.group), None))
    waiting = [named.path for named, _ in entries if named.path not in labels]
    left[f"parts are labelled by their station alone, which nobody trains on; {label_them}"] += waiting
    left["parts come from a simulated station"] += [part.path for part in own if part.item.is_simulated]
    for reason, names in left.items():
        notes += counted_note(reason, names)
    if not entries:
        raise DatasetError("no part has a class: " + "; ".join(notes))
    there = {named.label for named, _ in entries}
    marked = {mark.label for path in labels for mark in marks[path]}
    classes = class_order(there, wanted) if wanted else _in_order(known, there | marked)
    made = make_dataset(
        folder, classes, entries, source=source, labelled_by="station", notes=notes, report=report
    )
    digests = {part.path: part.sha256 for part in own}
    changed = [
        f"{shown(folder / one.path)}: is not what the station wrote; put it back from a copy"
        for one in made.pictures
        if digests[one.path] not in ("", one.digest)
    ]
    if changed:
        raise DatasetError(changed[0]) if len(changed) == 1 else BadFilesError(tuple(changed))
    return replace(
        made,
        pictures=tuple(
            replace(one, labelled_by="person", marks=marks[one.path]) if one.path in labels else one
            for one in made.pictures
        ),
    )


def _of_one_recipe(folder: Path, parts: list[KeptPart], recipe: str) -> list[KeptPart]:
    counts = Counter(part.item.recipe for part in parts)
    named = ", ".join(f"{name} ({count} parts)" for name, count in sorted(counts.items()))
    if not counts:
        raise DatasetError(f"{shown(folder)} holds no parts yet")
    if recipe and recipe not in counts:
        raise DatasetError(f"{shown(folder)} holds no part of recipe {recipe}; it has {shown(named)}")
    if not recipe and len(counts) > 1:
        raise DatasetError(
            f"{shown(folder)} holds parts of several recipes: {shown(named)}; name one by --recipe"
        )
    return [part for part in parts if not recipe or part.item.recipe == recipe]


def _words(
    folder: Path, parts: list[KeptPart], reviews: Mapping[tuple[str, int], Words]
) -> tuple[dict[str, Words], dict[str, tuple[Outline, ...]]]:
    """What each person says of each part, by path: on the page, else in the journal, else in the item.

    And the boxes that anybody drew on the page.
    """
    log = AnswerLog(folder)
    answers = {by: log.of(by) for by in log.people()}
    words: dict[str, Words] = {}
    marks: dict[str, tuple[Outline, ...]] = {}
    for part in parts:
        item = part.item
        own = {item.said_by or "": item.said_class} if item.said_class is not None else {}
        digest = (part.sha256 or file_digest(folder / part.path)) if answers else ""
        given = {by: said[digest] for by, said in answers.items() if digest in said}
        on_the_page = {by: answer.label for by, answer in given.items()}
        words[part.path] = own | reviews.get((item.journal_id, item.record_id), {}) | on_the_page
        boxes = dict.fromkeys(box for answer in given.values() for box in answer.boxes)
        marks[part.path] = tuple(outline_of(box) for box in boxes)
    return words, marks


def _in_order(known: tuple[str, ...], there: set[str]) -> tuple[str, ...]:
    """The classes that there are: those of the recipe in its order, then new ones."""
    return (*(name for name in known if name in there), *sorted(there - set(known)))
