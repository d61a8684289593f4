"""The nodes of a station in an OPC UA server, with the browse names of OPC 40100-1 (docs/opcua.md).

The mailboxes of the handshake are arrays of 48 UInt16, the same as the registers of Modbus: one value that
is never torn. What OPC 40100-1 names - states, recipe, result - follows them and is read only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from drivers.sorters.messages import EndState, Heartbeat, ResultBody
from drivers.sorters.registers import OF_RESULT, SIZE, Bit, Cell, Station, Status, decode

if TYPE_CHECKING:
    from asyncua.common.node import Node
    from asyncua.server.server import Server as UaServer

MACHINE_VISION = "http://opcfoundation.org/UA/MachineVision"
OWN = "urn:inspection-station"

STATES = {
    EndState.PREOPERATIONAL: ("Preoperational", ""),
    EndState.INITIALIZED: ("Operational", "Initialized"),
    EndState.READY: ("Operational", "Ready"),
    EndState.EXECUTING: ("Operational", "SingleExecution"),
    EndState.HALTED: ("Halted", ""),
    EndState.ERROR: ("Error", ""),
}
"""CurrentState of the VisionStateMachine, and of its AutomaticModeStateMachine."""


@dataclass
class Nodes:
    """The nodes whose values change, and what they show now."""

    mailboxes: dict[Station, Node]
    bits: Node
    heartbeat: Node
    state: Node
    automatic_state: Node
    recipe: Node
    result: dict[str, Node]
    shown: list[int]
    """The station's registers as the nodes show them."""

    async def show(self, words: list[int]) -> None:
        """Bring the nodes up to date; the bits of a result after all its values."""
        if words == self.shown:
            return
        before = self.shown
        changed = [at for at in Station if words[at : at + SIZE] != before[at : at + SIZE]]
        if Station.RESULT in changed and Bit(before[Status.BITS]) & OF_RESULT:
            await self.bits.write_value(_uint16(before[Status.BITS] & ~OF_RESULT))
        for place in changed:
            box = words[place : place + SIZE]
            await self.mailboxes[place].write_value(_uint16(box))
            message = decode(box)
            if message is not None and isinstance(message.body, Heartbeat):
                await self._show_state(message.body)
            elif message is not None and isinstance(message.body, ResultBody):
                await self._show_result(message.body)
        await self.heartbeat.write_value(_uint16(words[Status.HEARTBEAT]))
        await self.bits.write_value(_uint16(words[Status.BITS]))
        self.shown = words

    async def _show_state(self, beat: Heartbeat) -> None:
        from asyncua import ua

        vision, automatic = STATES[beat.state]
        await self.state.write_value(ua.LocalizedText(vision))
        await self.automatic_state.write_value(ua.LocalizedText(automatic))
        if beat.ready:
            await self.recipe.write_value(beat.reason)

    async def _show_result(self, body: ResultBody) -> None:
        outcome = body.outcome.name.lower()
        values: dict[str, Any] = {
            "ResultId": str(body.trigger),
            "PartId": str(body.part_id),
            "ResultContent": f"{outcome} bin {body.bin} class {body.class_index} {body.reason}".rstrip(),
            "CreationTime": datetime.now(UTC).replace(tzinfo=None),
        }
        for name, value in values.items():
            await self.result[name].write_value(value)


Written: TypeAlias = Callable[[Cell, list[int] | None], None]


async def make_nodes(server: UaServer, written: Written, is_simulated: bool) -> Nodes:
    """Add the station's nodes. ``written``: a client has written a mailbox, None where it is no mailbox.

    ``is_simulated``: of every result of this station.
    """
    from asyncua import ua

    vision = await server.register_namespace(MACHINE_VISION)
    own = await server.register_namespace(OWN)

    async def folder(parent: Node, index: int, name: str) -> Node:
        return await parent.add_object(below(parent, name), ua.QualifiedName(name, index))

    async def variable(parent: Node, index: int, name: str, value: Any) -> Node:
        return await parent.add_variable(below(parent, name), ua.QualifiedName(name, index), value)

    def below(parent: Node, name: str) -> ua.NodeId:
        """Its way from the top as a name, as in ``VisionSystem/Handshake/Bits``."""
        above = parent.nodeid.Identifier
        return ua.NodeId(ua.String(f"{above}/{name}" if isinstance(above, str) else name), ua.Int16(own))

    system = await folder(server.nodes.objects, vision, "VisionSystem")
    machine = await folder(system, vision, "VisionStateMachine")
    automatic = await folder(machine, vision, "AutomaticModeStateMachine")
    recipes = await folder(system, vision, "RecipeManagement")
    results = await folder(await folder(system, vision, "ResultManagement"), vision, "Results")
    result = await folder(results, vision, "Result")
    handshake = await folder(system, own, "Handshake")
    to_cell = await folder(handshake, own, "ToCell")
    to_station = await folder(handshake, own, "ToStation")
    empty = _uint16([0] * SIZE)
    for place in Cell:
        node = await variable(to_station, own, _camel(place.name), empty)
        await node.set_writable()
        server.set_attribute_value_setter(node.nodeid, _setter(place, written))
    await variable(result, vision, "IsSimulated", is_simulated)
    moment = datetime.now(UTC).replace(tzinfo=None)
    return Nodes(
        mailboxes={place: await variable(to_cell, own, _camel(place.name), empty) for place in Station},
        bits=await variable(handshake, own, "Bits", _uint16(0)),
        heartbeat=await variable(handshake, own, "Heartbeat", _uint16(0)),
        state=await variable(machine, 0, "CurrentState", ua.LocalizedText("Preoperational")),
        automatic_state=await variable(automatic, 0, "CurrentState", ua.LocalizedText("")),
        recipe=await variable(recipes, vision, "ExternalRecipeId", ""),
        result={
            name: await variable(result, vision, name, moment if name == "CreationTime" else "")
            for name in ("ResultId", "PartId", "ResultContent", "CreationTime")
        },
        shown=[0] * (max(Station) + SIZE),
    )


def _setter(place: Cell, written: Written) -> Callable[[Any, Any, Any], None]:
    def take(node: Any, attribute: Any, value: Any) -> None:
        words = value.Value.Value if value.Value is not None else None
        if isinstance(words, list) and len(words) == SIZE and all(isinstance(word, int) for word in words):
            node.attributes[attribute].value = value
            written(place, words)
        else:
            written(place, None)

    return take


def _uint16(value: int | list[int]) -> Any:
    from asyncua import ua

    return ua.Variant(value, ua.VariantType.UInt16)


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))
