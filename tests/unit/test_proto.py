"""What holds for every message of the contract, and for the page that explains it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor

PROTO = Path(__file__).parents[2] / "proto"
SOURCES = sorted(str(path.relative_to(PROTO)) for path in PROTO.glob("hearth/**/*.proto"))


def _file(source: str) -> FileDescriptor:
    module = importlib.import_module(source.removesuffix(".proto").replace("/", ".") + "_pb2")
    descriptor: FileDescriptor = module.DESCRIPTOR
    return descriptor


def _messages(source: str) -> Iterator[Descriptor]:
    waiting = list(_file(source).message_types_by_name.values())
    while waiting:
        message = waiting.pop()
        yield message
        waiting.extend(message.nested_types)


@pytest.mark.parametrize("source", SOURCES)
def test_no_message_has_a_float_or_a_map(source: str) -> None:
    # A float has many encodings of one amount, a map no order: neither may be in anything signed.
    floating = {FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}
    for message in _messages(source):
        assert not message.GetOptions().map_entry, message.full_name
        for field in message.fields:
            assert field.cpp_type not in floating, field.full_name


@pytest.mark.parametrize("source", SOURCES)
def test_field_numbers_leave_no_unreserved_hole(source: str) -> None:
    # A hole is a removed field whose number somebody could use again with another meaning.
    for message in _messages(source):
        numbers = {field.number for field in message.fields}
        assert numbers == set(range(1, len(numbers) + 1)), message.full_name


def test_the_readme_names_every_file_call_and_capability() -> None:
    readme = (PROTO / "README.md").read_text()
    wanted = [source for source in SOURCES if source.startswith("hearth/v1/")]
    for source in wanted.copy():
        for service in _file(source).services_by_name.values():
            wanted += [service.name, *(method.name for method in service.methods)]
    capabilities = _file("hearth/v1/attestation.proto").enum_types_by_name["Capability"].values
    wanted += [value.name for value in capabilities if value.number]
    assert [name for name in wanted if name not in readme] == []
