"""Statements as people read them. Apart, because the JSON library has no place in the daemon."""

from __future__ import annotations

from google.protobuf.json_format import MessageToJson
from hearth.v1 import common_pb2, lease_pb2


def receipt_json(payload: bytes) -> str:
    """A receipt's payload as readable JSON."""
    return MessageToJson(lease_pb2.Receipt.FromString(payload), preserving_proto_field_name=True)


def assurance_name(number: int) -> str:
    """hearth.v1.AssuranceClass as words: `virtual TPM`."""
    try:
        name = common_pb2.AssuranceClass.Name(number)
    except ValueError:
        return f"unknown class {number}"
    return name.removeprefix("ASSURANCE_CLASS_").lower().replace("_", " ").replace("tpm", "TPM")
