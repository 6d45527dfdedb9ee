"""Statements as people read them. Apart, because the JSON library has no place in the daemon."""

from __future__ import annotations

from google.protobuf.json_format import MessageToJson
from hearth.v1 import lease_pb2


def receipt_json(payload: bytes) -> str:
    """A receipt's payload as readable JSON."""
    return MessageToJson(lease_pb2.Receipt.FromString(payload), preserving_proto_field_name=True)
