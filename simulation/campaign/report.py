"""What a campaign found, as a table for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from simulation.campaign.kinds import KINDS
from simulation.campaign.run import Campaign, Injection

TARGET_S = 5.0
"""p95 of the recovery, once the counterpart is back."""


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1))]


def table(campaign: Campaign) -> list[str]:
    """Markdown: one row per kind, and the sum."""
    lines = [
        "| kind | what happens | injections | accepted | rejected | faulted "
        "| recovery p50 / p95 / longest, s | broken laws |",
        "|---|---|---|---|---|---|---|---|",
    ]
    by_kind: dict[str, list[Injection]] = {}
    for one in campaign.injections:
        by_kind.setdefault(one.kind, []).append(one)
    for name, injections in by_kind.items():
        says = KINDS[name].says if name in KINDS else ""
        lines.append(_row(f"`{name}`", says, injections, campaign, [name]))
    lines.append(_row("all", f"{len(by_kind)} kinds", campaign.injections, campaign, [*by_kind, "no fault"]))
    return lines


def notes(campaign: Campaign) -> list[str]:
    """What the table does not say, as sentences."""
    longest = max((one.recovery_s for one in campaign.injections if one.recovery_s is not None), default=0.0)
    parts = sum(sum(count.values()) for count in campaign.counts.values())
    lines = [
        f"Seed {campaign.seed}; {len(campaign.injections)} injections, {parts:,} parts of "
        f"{campaign.pictures} pictures, the longest recovery {longest:.1f} s. Of the defective pictures, the "
        f"engine accepts {campaign.known_escapes} when nothing is wrong.",
    ]
    blind = sum(one.kind == "engine-turns-blind" for one in campaign.injections)
    if blind:
        lines.append(
            f"An engine that turned blind while it ran ({blind} times, `engine.canary_s` 5) got "
            f"{campaign.blind_accepts} defective parts accepted until a golden part showed it: the period of "
            "the canary is the limit of what can be promised. They are not counted as broken laws."
        )
    late = slow(campaign)
    lines.append(
        f"p95 of the recovery is above {TARGET_S:g} s for: {', '.join(f'`{name}`' for name in late)}."
        if late
        else f"p95 of the recovery is at most {TARGET_S:g} s for every kind."
    )
    return [line for one in lines for line in ("", one)]


def _row(
    name: str, says: str, injections: Sequence[Injection], campaign: Campaign, kinds: Sequence[str]
) -> str:
    times = [one.recovery_s for one in injections if one.recovery_s is not None]
    recovery = " / ".join(f"{quantile(times, share):.2f}" for share in (0.5, 0.95, 1.0)) if times else "never"
    parts = [
        sum(campaign.counts.get(kind, {}).get(outcome, 0) for kind in kinds)
        for outcome in ("accept", "reject", "fault")
    ]
    broken = sum(kind in kinds for kind, _ in campaign.violations) + sum(
        bool(one.failure) for one in injections
    )
    cells = [name, says, len(injections), *parts, recovery, broken]
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def problems(campaign: Campaign) -> list[str]:
    """Every law that was broken and every injection that failed, each with the command that repeats it."""
    said = [f"{one.kind} number {one.number}: {one.failure}" for one in campaign.injections if one.failure]
    said += [f"{kind}: {one.law}, part {one.part_id}: {one.says}" for kind, one in campaign.violations]
    if campaign.exit_code and campaign.injections:
        said.append(f"the last, clean stop ended with exit code {campaign.exit_code}")
    return said


def slow(campaign: Campaign) -> list[str]:
    """The kinds whose p95 of the recovery misses the target."""
    by_kind: dict[str, list[float]] = {}
    for one in campaign.injections:
        if one.recovery_s is not None:
            by_kind.setdefault(one.kind, []).append(one.recovery_s)
    return [name for name, times in by_kind.items() if quantile(times, 0.95) > TARGET_S]


def write_json(campaign: Campaign, path: Path) -> None:
    """Everything, for other programs."""
    path.write_text(json.dumps(asdict(campaign), indent=1), encoding="utf-8")


def put_between(path: Path, marker: str, lines: Sequence[str]) -> None:
    """Replace what stands between ``<!-- marker -->`` and ``<!-- /marker -->``; raises ``ValueError``."""
    text = path.read_text(encoding="utf-8")
    begin, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    if begin not in text or end not in text:
        raise ValueError(f"{path} has no {begin} and {end}: write both where the table shall stand")
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    path.write_text(f"{before}{begin}\n" + "\n".join(lines) + f"\n{end}{after}", encoding="utf-8")
