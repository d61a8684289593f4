"""One data set of several, such as a person's own pictures and the parts that stations handed over.

Nothing is copied: the joined manifest lists the files where they are. What two sets say differently of one
picture is an error, because nobody but a person can know which one is right.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from retraining.data.manifest import Dataset, Picture
from retraining.data.splits import torn_groups
from retraining.errors import DatasetError

_SHOWN = 5


def join_datasets(sets: Mapping[str, Dataset], good: str = "") -> Dataset:
    """The pictures of all ``sets``, named as a person knows them, below the folder that holds them all.

    ``good`` is the class of good parts, where the sets do not agree on their first class. A picture that
    several sets list is listed once. Groups of one name become one group, and so do groups that hold the same
    file. Raises :class:`DatasetError` with everything that the sets say differently.
    """
    if len(sets) < 2:
        raise DatasetError("name two data sets or more to join")
    classes = _classes(sets, good)
    white = {one.sixteen_bit_white for one in sets.values()} - {None}
    split = {name: bool([p for p in one.pictures if p.split]) for name, one in sets.items() if len(one)}
    faults = []
    if len(white) > 1:
        faults.append(
            f"the sets have different values for white in 16-bit files ({', '.join(map(str, white))}); build "
            "one of them again with the other's --sixteen-bit-white"
        )
    if len(set(split.values())) > 1:
        which = ", ".join(name for name, has in split.items() if has)
        faults.append(
            f"only {which} is split; split the others, too, by `retrain data split`, or join sets without "
            "a split and split the whole"
        )
    root = Path(os.path.commonpath([one.root.resolve() for one in sets.values()]))
    found: dict[str, _Entry] = {}
    for name, one in sets.items():
        for picture in one.pictures:
            moved = replace(picture, path=(one.root.resolve() / picture.path).relative_to(root).as_posix())
            known = found.setdefault(moved.name, _Entry(name, moved))
            if differing := _differing(known.picture, moved):
                faults.append(
                    f"{moved.name}: {known.of} and {name} differ in {', '.join(differing)}; correct one set"
                )
    entries = list(found.values())
    faults += _contradictions(entries)
    if faults:
        more = f"\n  and {len(faults) - 50} more" if len(faults) > 50 else ""
        listed = "\n  ".join(faults[:50])
        raise DatasetError(f"the sets cannot be joined:\n  {listed}{more}")
    pictures, same_file = _one_group_per_file([entry.picture for entry in entries])
    notes = [f"{name}: {note}" for name, one in sets.items() for note in one.notes]
    notes += _joined_notes(sets, len(entries), same_file)
    joined = Dataset(root, classes, tuple(pictures), tuple(notes), next(iter(white), None))
    if torn := torn_groups(joined):
        raise DatasetError(
            f"{len(torn)} groups lie in more than one split of the joined sets, such as {torn[0]}: the test "
            "would know its pictures; join sets without a split, and split the whole by `retrain data split`"
        )
    return joined


@dataclass(frozen=True, slots=True)
class _Entry:
    of: str
    """The set that listed it first."""
    picture: Picture


def _classes(sets: Mapping[str, Dataset], good: str) -> tuple[str, ...]:
    """The classes of all sets in the order in which they are met, that of good parts first."""
    classes = list(dict.fromkeys(name for one in sets.values() for name in one.classes))
    firsts = {one.classes[0] for one in sets.values()}
    if good:
        if good not in classes:
            raise DatasetError(f"no class is called {good!r}; the sets have {', '.join(classes)}")
        return (good, *(name for name in classes if name != good))
    if len(firsts) > 1:
        said = "; ".join(f"{name}: {', '.join(one.classes)}" for name, one in sets.items())
        raise DatasetError(
            f"the sets begin with different classes ({said}), and the first class of a set is that of good "
            "parts. Say which one it is by --good; where two names mean one class, build one of the sets "
            "again with --rename"
        )
    return tuple(classes)


def _differing(one: Picture, other: Picture) -> list[str]:
    """What two entries of one picture say differently."""
    told = ("digest", "label", "group", "source", "labelled_by", "split", "marks")
    return [name for name in told if getattr(one, name) != getattr(other, name)]


def _contradictions(entries: Sequence[_Entry]) -> list[str]:
    """A sentence for every file that two sets list under different paths and labels."""
    by_pixels: dict[tuple[object, ...], list[_Entry]] = defaultdict(list)
    for entry in entries:
        by_pixels[entry.picture.digest, entry.picture.window].append(entry)
    return [
        f"{same[0].picture.name} ({same[0].of}) and {other.picture.name} ({other.of}) are the same file with "
        f"the labels {same[0].picture.label} and {other.picture.label}; correct one of them"
        for same in by_pixels.values()
        for other in same[1:]
        if other.of != same[0].of and other.picture.label != same[0].picture.label
    ]


def _one_group_per_file(pictures: Sequence[Picture]) -> tuple[list[Picture], int]:
    """The pictures with groups that hold the same file joined, and how many groups went into others."""
    parent = {picture.group: picture.group for picture in pictures}

    def found(group: str) -> str:
        while parent[group] != group:
            group = parent[group]
        return group

    first: dict[str, str] = {}
    joined = 0
    for picture in pictures:
        own, other = found(picture.group), found(first.setdefault(picture.digest, picture.group))
        if own != other:
            parent[own] = other
            joined += 1
    return [replace(picture, group=found(picture.group)) for picture in pictures], joined


def _joined_notes(sets: Mapping[str, Dataset], count: int, same_file: int) -> list[str]:
    """What a person should know of the joining."""
    notes = []
    listed = sum(len(one) for one in sets.values())
    if listed > count:
        notes.append(f"{listed - count} pictures that several sets list are listed once")
    met = Counter(group for one in sets.values() for group in {p.group for p in one.pictures})
    if shared := sorted(group for group, number in met.items() if number > 1):
        some = ", ".join(shared[:_SHOWN]) + (", ..." if len(shared) > _SHOWN else "")
        notes.append(
            f"{len(shared)} groups have the same name in several sets and count as one ({some}); if they are "
            "different parts, build one of the sets again with other names"
        )
    if same_file:
        notes.append(f"{same_file} groups hold a file that another group holds, too, and were joined with it")
    return notes
