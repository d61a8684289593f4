"""A receipt: the workshop's signed word that it has a bundle. Only this lets the station let go."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from drivers.errors import InspectionError
from station.signing import PublicKey, SigningKey

PURPOSE = "hand-off receipt 1"


class ReceiptError(InspectionError):
    """A receipt does not count; the message says why."""


@dataclass(frozen=True, slots=True)
class BundleReceipt:
    """What the workshop has."""

    station_key_id: str
    sequence: int
    sha256: str
    """Of the bundle's bytes."""
    size: int
    items: int
    workshop_key_id: str

    def to_json(self, key: SigningKey) -> bytes:
        """Its file, signed."""
        text = json.dumps(asdict(self), sort_keys=True)
        signature = key.sign(PURPOSE, text.encode()).hex()
        return (json.dumps({"receipt": text, "signature": signature}, indent=1) + "\n").encode()


def read_receipt(content: bytes, keys: dict[str, PublicKey]) -> BundleReceipt:
    """A receipt that one of these keys signed. Raises :class:`ReceiptError`."""
    try:
        outer = json.loads(content)
        text, signature = str(outer["receipt"]), bytes.fromhex(outer["signature"])
        receipt = BundleReceipt(**json.loads(text))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ReceiptError(f"cannot be read ({error!r}): let the workshop write it again") from error
    key = keys.get(receipt.workshop_key_id)
    if key is None:
        raise ReceiptError(
            f"is signed by a workshop that is not enrolled here (key {receipt.workshop_key_id}): copy its "
            "public key into the folder `handoff.workshops`"
        )
    if not key.has_signed(PURPOSE, text.encode(), signature):
        raise ReceiptError(
            "has a wrong signature: it was changed on the way, let the workshop write it again"
        )
    return receipt
