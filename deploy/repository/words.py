"""What a repository's changes and orders mean, in words for the people who sign them."""

from __future__ import annotations

from deploy.repository.folder import Repository
from deploy.repository.keys import name_of
from deploy.repository.orders import Order
from deploy.repository.reading import Document

WITHDRAWN = "x-withdrawn"
"""The field of a channel that has what was withdrawn from it: target path -> version and reason."""


def whom(order: Order) -> str:
    """Which stations an order takes."""
    stations = (
        f"{order.percent} % of the stations"
        if order.stations is None
        else f"stations {', '.join(order.stations)}"
    )
    return f"HALTED, was for {stations}" if order.halted else f"for {stations}"


def changes_of(repository: Repository) -> list[str]:
    """One line per thing that the pending documents change."""
    lines = []
    for role, document in repository.pending.items():
        before = repository.published.get(role)
        lines.append(
            f"{role}: version {document.signed.version}, until {document.signed.expires:%Y-%m-%d}"
            f"{'' if before else ', new'}"
        )
        lines += [f"  {line}" for line in (*_signing(before, document), *_targets(before, document))]
    return lines


def _signing(before: Document | None, after: Document) -> list[str]:
    """Who signs what, where that changes."""
    old, new = _roles(before), _roles(after)
    return [
        f"{name} is signed by {new[name]}" + (f", was {old[name]}" if name in old else "")
        for name in new
        if new[name] != old.get(name)
    ]


def _roles(document: Document | None) -> dict[str, str]:
    if document is None:
        return {}
    delegations = getattr(document.signed, "delegations", None)
    roles = getattr(document.signed, "roles", None) or (delegations.roles if delegations else {})
    names = {
        name: sorted(name_of(document.signed.get_key(one)) for one in role.keyids)
        for name, role in roles.items()
    }
    return {name: f"{role.threshold} of {', '.join(names[name])}" for name, role in roles.items()}


def _targets(before: Document | None, after: Document) -> list[str]:
    """What is listed, changed or no longer listed."""
    old = getattr(before.signed, "targets", {}) if before else {}
    new = getattr(after.signed, "targets", {})
    lines = [
        f"{'changes' if path in old else 'lists'} {path} {target.unrecognized_fields.get('custom')}"
        for path, target in new.items()
        if target != old.get(path)
    ]
    withdrawn = after.signed.unrecognized_fields.get(WITHDRAWN, {})
    return lines + [
        f"no longer lists {path}" + (f" {withdrawn[path]}" if path in withdrawn else "")
        for path in old
        if path not in new
    ]
