"""Pictures that show the same thing: found by their pixels, and joined so that no split parts them.

Four kinds, each with a note:

- *exact*: the same pixels, whatever the file's format;
- *near*: the same picture stored anew, lit otherwise or moved a little. Candidates are perceptual hashes that
  differ in few bits (pHash, phash.org), proof is the texture: what is left of a picture reduced to
  64 x 64 px without its shading and without straight lines along its sides, correlated at the best shift;
- *mirrored*: nearly the same after a flip or a turn by quarters, as augmentation writes it into folders;
- *overlapping*: crops of one strip that share a quarter or more. Pictures cut from one strip are numbered one
  after the other, so that only the next few names of a class are compared.

Lines must go because any two scratches are alike, the steel between them is not. Of pictures far apart in the
NEU and X-SDD sets, hardly any two pass the proof; of neighbours in NEU-CLS about a third do.

Groups that a person declared win: what is found between two of them is reported and never joined, because
pictures of a fixed jig all look alike.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

from retraining.data.groups import is_declared
from retraining.data.listing import counted_note
from retraining.data.manifest import Dataset, Picture
from retraining.data.pixels import cut_window
from retraining.errors import DatasetError
from retraining.surfaces.reading import Reporter, for_each, read_picture, silent, stage
from station.patching.area import resize_picture

SIDE = 64
"""px; pictures are compared at this size."""
HASH_BITS = 18
"""Of 64; two pictures drawn at random differ in about 32."""
MIRRORED_BITS = 10
"""The same for mirrored pictures: there are seven ways to mirror, and each brings candidates by chance."""
_HASH_SIDE = 32
_LOW = 8
"""Frequencies per side that a hash keeps."""
SAME = 0.88
"""Correlation of textures from which on two pictures show the same."""
REACH = 12
"""How many of the following names of its class a picture is compared with for an overlap."""
_MARGIN = 8
"""px at :data:`SIDE`; the shift that a near duplicate may have."""
_LEAST_TEXTURE = 1.0
"""Grey levels; a blank quarter looks like any other."""


_MOST_IN_ONE = 0.5
"""Share of a set; a group that joining makes larger is told, because no split can be made of it."""
_FEW = 8
"""Pictures; smaller sets are not told about."""
JOINED_KINDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"all": ("exact", "near", "mirrored", "overlapping"), "exact": ("exact",), "none": ()}
)
"""What may be joined, by the name of the choice; the rest is reported only."""
_BLOCK = 64
"""Pairs that one thread compares in a row."""


@dataclass(frozen=True, slots=True)
class DuplicatePair:
    """Two pictures, by their numbers in the set, that show the same."""

    first: int
    second: int
    kind: str
    """``exact``, ``near``, ``mirrored`` or ``overlapping``."""


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """What is compared of ``N`` pictures."""

    digests: tuple[str, ...]
    """SHA-256 of size and pixels."""
    hashes: NDArray[np.uint64]
    """``(8, N)`` perceptual hashes of each picture as it is and mirrored in seven ways."""
    textures: NDArray[np.float32]
    """``(N, 64, 64)``."""


def group_duplicates(
    dataset: Dataset, *, reach: int = REACH, join: str = "all", report: Reporter = silent
) -> Dataset:
    """The set with undeclared groups of equal, similar and overlapping pictures joined, and notes about them.

    Declared groups are never joined with one another. ``reach`` 0 leaves overlaps aside; ``join`` is one of
    :data:`JOINED_KINDS`. Raises :class:`DatasetError` for a file that is no image.
    """
    if join not in JOINED_KINDS:
        raise DatasetError(f"what is joined is one of {', '.join(JOINED_KINDS)}, not {join!r}")
    pairs = find_duplicates(dataset, reach=reach, report=report)
    wanted = [pair for pair in pairs if pair.kind in JOINED_KINDS[join]]
    joined = join_groups(dataset.pictures, wanted, is_declared(dataset))
    return dataset.with_pictures(joined, *_describe(dataset, joined, pairs))


def find_duplicates(
    dataset: Dataset, *, reach: int = REACH, report: Reporter = silent
) -> list[DuplicatePair]:
    """Every pair of pictures of different groups that show the same, the strongest kind only."""
    looks = look_at(dataset, report)
    groups = [p.group for p in dataset.pictures]
    exact = [pair for pair in _exact(looks.digests) if groups[pair.first] != groups[pair.second]]
    known = {(pair.first, pair.second) for pair in exact}
    found = exact
    for kind, candidates, proof in (
        ("near", _similar(looks.hashes[0], looks.hashes[0], HASH_BITS), _is_near),
        ("mirrored", _mirrored(looks.hashes), _is_mirrored),
        ("overlapping", _neighbours(dataset, reach), _overlaps),
    ):
        open_ones = [c for c in candidates if groups[c[0]] != groups[c[1]] and c not in known]
        proved = _proved(looks, open_ones, proof, kind, report)
        known.update(proved)
        found = found + [DuplicatePair(*c, kind) for c in proved]
    return found


def look_at(dataset: Dataset, report: Reporter = silent) -> Looks:
    """Read every picture once and keep what is compared."""
    pictures = dataset.pictures
    digests = [""] * len(pictures)
    hashes = np.empty((8, len(pictures)), np.uint64)
    textures = np.empty((len(pictures), SIDE, SIDE), np.float32)
    order = sorted(range(len(pictures)), key=lambda i: pictures[i].path)
    files = [list(rows) for _, rows in groupby(order, key=lambda i: pictures[i].path)]

    def look(rows: list[int]) -> None:
        whole = read_picture(dataset.path_of(pictures[rows[0]]), 1, dataset.sixteen_bit_white)
        for row in rows:
            pixels = cut_window(whole, pictures[row])
            digests[row] = hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()
            small = resize_picture(pixels, SIDE, SIDE)[..., 0].astype(np.float32)
            hashes[:, row] = _hashes(small)
            textures[row] = _texture(small)

    for_each(look, files, stage(report, "pictures compared", len(files)))
    return Looks(tuple(digests), hashes, textures)


def join_groups(
    pictures: Iterable[Picture],
    pairs: Iterable[DuplicatePair],
    declared: Callable[[str], bool] = lambda group: False,
) -> tuple[Picture, ...]:
    """The pictures with the groups of every pair made one, except where both are declared.

    A joined group bears the name of its declared member, else that of its first one.
    """
    own = tuple(pictures)
    leader = {p.group: p.group for p in own}

    def find(group: str) -> str:
        while leader[group] != group:
            leader[group] = leader[leader[group]]
            group = leader[group]
        return group

    for pair in pairs:
        ends = (find(own[pair.first].group), find(own[pair.second].group))
        first, second = sorted(ends, key=lambda group: (not declared(group), group))
        if not declared(second):
            leader[second] = first
    return tuple(p if find(p.group) == p.group else replace(p, group=find(p.group)) for p in own)


def _proved(
    looks: Looks,
    candidates: list[tuple[int, int]],
    proof: Callable[[Looks, int, int], bool],
    kind: str,
    report: Reporter,
) -> list[tuple[int, int]]:
    """The candidates that pass a proof."""
    blocks = [candidates[i : i + _BLOCK] for i in range(0, len(candidates), _BLOCK)]
    found: list[tuple[int, int]] = []

    def prove(block: list[tuple[int, int]]) -> list[tuple[int, int]]:
        return [c for c in block if proof(looks, *c)]

    with ThreadPoolExecutor() as pool:
        for number, proved in enumerate(pool.map(prove, blocks), start=1):
            found += proved
            report(f"{kind} pairs compared", min(number * _BLOCK, len(candidates)), len(candidates))
    return found


def _views(square: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """A square as it is, and mirrored and turned by quarters in all seven other ways."""
    for turned in (square, square.T):
        for rows in (1, -1):
            for columns in (1, -1):
                yield turned[::rows, ::columns]


def _hashes(small: NDArray[np.float32]) -> NDArray[np.uint64]:
    """``(8,)``: the perceptual hash of each of :func:`_views`.

    At even contrast, so that faint textures have one, too. A mirrored picture has the same frequencies, the
    odd ones with the other sign.
    """
    even = 128 + 40 * (small - small.mean()) / max(float(small.std()), 1e-3)
    image = Image.fromarray(np.clip(even, 0, 255).astype(np.uint8))
    pixels = np.asarray(image.resize((_HASH_SIDE, _HASH_SIDE), Image.Resampling.LANCZOS), np.float64)
    low = dctn(pixels)[:_LOW, :_LOW]
    odd = 1 - 2 * (np.arange(_LOW) % 2)
    ways = [
        way * rows[:, None] * columns
        for way in (low, low.T)
        for rows in (np.ones(_LOW), odd)
        for columns in (np.ones(_LOW), odd)
    ]
    bits = [np.packbits((way > np.median(way)).ravel()).tobytes() for way in ways]
    return np.array([int.from_bytes(own, "little") for own in bits], np.uint64)


def _texture(small: NDArray[np.float32]) -> NDArray[np.float32]:
    """The picture without its shading and without lines along its sides, lightly smoothed against noise."""
    fine = small - cv2.GaussianBlur(small, (0, 0), 4.0)
    fine -= fine.mean(axis=0, keepdims=True)
    fine -= fine.mean(axis=1, keepdims=True)
    return np.asarray(cv2.GaussianBlur(fine, (0, 0), 0.7), np.float32)


def _exact(digests: tuple[str, ...]) -> list[DuplicatePair]:
    first: dict[str, int] = {}
    return [DuplicatePair(first[d], i, "exact") for i, d in enumerate(digests) if first.setdefault(d, i) != i]


def _similar(one: NDArray[np.uint64], other: NDArray[np.uint64], most: int) -> list[tuple[int, int]]:
    """Pairs, the smaller number first, whose hashes in two rows ``(N,)`` differ in at most so many bits."""
    found: list[tuple[int, int]] = []
    for start in range(0, len(one), 256):
        bits = np.bitwise_count(one[start : start + 256, None] ^ other[None, start:])
        rows, columns = np.nonzero(bits <= most)
        later = columns > rows
        found += zip((rows[later] + start).tolist(), (columns[later] + start).tolist(), strict=True)
    return found


def _mirrored(hashes: NDArray[np.uint64]) -> list[tuple[int, int]]:
    """Pairs that are alike in one of the seven ways to mirror the second picture."""
    return sorted({pair for way in hashes[1:] for pair in _similar(hashes[0], way, MIRRORED_BITS)})


def _neighbours(dataset: Dataset, reach: int) -> list[tuple[int, int]]:
    """Each picture with the ``reach`` following names of its class, numbers in names compared as numbers."""
    by_class: dict[str, list[int]] = defaultdict(list)
    for number, picture in enumerate(dataset.pictures):
        by_class[picture.label].append(number)
    found = []
    for numbers in by_class.values():
        numbers.sort(key=lambda i: _natural(dataset.pictures[i].name))
        for at, one in enumerate(numbers):
            found += [(min(one, other), max(one, other)) for other in numbers[at + 1 : at + 1 + reach]]
    return found


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in re.split(r"(\d+)", name)]


def _is_near(looks: Looks, first: int, second: int) -> bool:
    return _alike(looks.textures[first], looks.textures[second])


def _is_mirrored(looks: Looks, first: int, second: int) -> bool:
    ways = list(_views(looks.textures[second]))[1:]
    return any(_alike(looks.textures[first], np.ascontiguousarray(way)) for way in ways)


def _alike(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    inner = slice(_MARGIN, SIDE - _MARGIN)
    return _correlation(a[inner, inner], b) >= SAME and _correlation(b[inner, inner], a) >= SAME


def _overlaps(looks: Looks, first: int, second: int) -> bool:
    """Whether a quarter of the first picture is found in the second: shifts of up to half a side."""
    a, b = looks.textures[first], looks.textures[second]
    halves = (slice(0, SIDE // 2), slice(SIDE // 2, SIDE))
    return any(_correlation(a[rows, columns], b) >= SAME for rows in halves for columns in halves)


def _correlation(template: NDArray[np.float32], texture: NDArray[np.float32]) -> float:
    """The highest normalised correlation of a template over all places in a texture; 0 for a blank one."""
    if float(template.std()) < _LEAST_TEXTURE:
        return 0.0
    return float(cv2.minMaxLoc(cv2.matchTemplate(texture, template, cv2.TM_CCOEFF_NORMED))[1])


def _describe(dataset: Dataset, joined: tuple[Picture, ...], pairs: list[DuplicatePair]) -> list[str]:
    """Notes on what was found, what was joined, and what was not."""
    notes = []
    pictures = dataset.pictures
    sizes = Counter(p.group for p in joined)
    together = [p for p in pairs if joined[p.first].group == joined[p.second].group]
    apart = [p for p in pairs if joined[p.first].group != joined[p.second].group]
    for kind, meaning in _MEANINGS.items():
        own = [p for p in together if p.kind == kind]
        if own:
            named = ", ".join(f"{pictures[p.first].name} = {pictures[p.second].name}" for p in own)
            notes.append(f"{len(own)} pairs of {meaning} stay on one side of a split: {named}")
    overlapping = [p for p in together if p.kind == "overlapping"]
    if overlapping:
        alone = sum(1 for p in joined if sizes[p.group] == 1)
        notes.append(
            f"{len(overlapping)} pairs of neighbours show a part of the same surface and stay on one side "
            f"of a split: {alone} of {len(joined)} pictures are alone in their group, the largest group has "
            f"{max(sizes.values())}"
        )
    for kind, meaning in (*_MEANINGS.items(), ("overlapping", "a part of the same surface")):
        own = [p for p in apart if p.kind == kind]
        named_pairs = [f"{pictures[p.first].name} = {pictures[p.second].name}" for p in own]
        notes += counted_note(
            f"pairs of {meaning} are in groups that were not joined (declared groups win, --join), and a "
            "split may part them",
            named_pairs,
        )
    group, size = sizes.most_common(1)[0]
    before = Counter(p.group for p in pictures)
    if len(pictures) >= _FEW and size > max(before[group], _MOST_IN_ONE * len(pictures)):
        notes.append(
            f"warning: the group {group} holds {size} of {len(pictures)} pictures, because they look alike, "
            "as pictures from a fixed jig do; such a set can hardly be split. Say which pictures belong "
            "together by --group-by or --groups, or join the same pixels only by --join exact"
        )
    torn = [p for p in pairs if pictures[p.first].label != pictures[p.second].label]
    if torn:
        named = ", ".join(
            f"{pictures[p.first].name} ({pictures[p.first].label}) = "
            f"{pictures[p.second].name} ({pictures[p.second].label})"
            for p in torn
        )
        notes.append(f"{len(torn)} pairs show the same and have different labels: {named}")
    return notes


_MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        "exact": "the same pixels",
        "near": "nearly the same picture",
        "mirrored": "the same picture mirrored or turned",
    }
)
