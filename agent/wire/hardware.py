"""The inventory as bytes: equal hardware gives equal bytes, whatever the generation."""

from __future__ import annotations

from hearth.v1 import inventory_pb2

from agent.wire.statements import enum
from probes.component import Component
from probes.inventory import Inventory


def encode_inventory(inventory: Inventory) -> bytes:
    """Serialise an inventory; its SHA-256 is the inventory digest that evidence quotes."""
    return inventory_pb2.Inventory(
        components=[_component(item) for item in inventory.components],
        traits=inventory.traits,
        kernel_release=inventory.kernel_release,
        virtualization=inventory.virtualization,
    ).SerializeToString(deterministic=True)


def _component(item: Component) -> inventory_pb2.Component:
    return inventory_pb2.Component(
        kind=enum(inventory_pb2.ComponentKind, item.kind),
        locator=item.locator,
        vendor=item.vendor,
        model=item.model,
        serial=item.serial,
        firmware=item.firmware,
        properties=[inventory_pb2.Property(key=key, value=value) for key, value in item.properties],
        health=enum(inventory_pb2.Health, item.health),
    )
