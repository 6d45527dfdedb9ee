from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ComponentKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMPONENT_KIND_UNSPECIFIED: _ClassVar[ComponentKind]
    COMPONENT_KIND_SYSTEM: _ClassVar[ComponentKind]
    COMPONENT_KIND_BOARD: _ClassVar[ComponentKind]
    COMPONENT_KIND_FIRMWARE: _ClassVar[ComponentKind]
    COMPONENT_KIND_PROCESSOR: _ClassVar[ComponentKind]
    COMPONENT_KIND_MEMORY_MODULE: _ClassVar[ComponentKind]
    COMPONENT_KIND_DISK: _ClassVar[ComponentKind]
    COMPONENT_KIND_NETWORK_INTERFACE: _ClassVar[ComponentKind]
    COMPONENT_KIND_ACCELERATOR: _ClassVar[ComponentKind]
    COMPONENT_KIND_PCI_DEVICE: _ClassVar[ComponentKind]
    COMPONENT_KIND_USB_DEVICE: _ClassVar[ComponentKind]
    COMPONENT_KIND_TPM: _ClassVar[ComponentKind]
    COMPONENT_KIND_POWER_SUPPLY: _ClassVar[ComponentKind]
    COMPONENT_KIND_METER: _ClassVar[ComponentKind]

class Health(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HEALTH_UNSPECIFIED: _ClassVar[Health]
    HEALTH_OK: _ClassVar[Health]
    HEALTH_DEGRADED: _ClassVar[Health]
    HEALTH_FAILED: _ClassVar[Health]
COMPONENT_KIND_UNSPECIFIED: ComponentKind
COMPONENT_KIND_SYSTEM: ComponentKind
COMPONENT_KIND_BOARD: ComponentKind
COMPONENT_KIND_FIRMWARE: ComponentKind
COMPONENT_KIND_PROCESSOR: ComponentKind
COMPONENT_KIND_MEMORY_MODULE: ComponentKind
COMPONENT_KIND_DISK: ComponentKind
COMPONENT_KIND_NETWORK_INTERFACE: ComponentKind
COMPONENT_KIND_ACCELERATOR: ComponentKind
COMPONENT_KIND_PCI_DEVICE: ComponentKind
COMPONENT_KIND_USB_DEVICE: ComponentKind
COMPONENT_KIND_TPM: ComponentKind
COMPONENT_KIND_POWER_SUPPLY: ComponentKind
COMPONENT_KIND_METER: ComponentKind
HEALTH_UNSPECIFIED: Health
HEALTH_OK: Health
HEALTH_DEGRADED: Health
HEALTH_FAILED: Health

class Inventory(_message.Message):
    __slots__ = ("components", "traits", "kernel_release", "virtualization")
    COMPONENTS_FIELD_NUMBER: _ClassVar[int]
    TRAITS_FIELD_NUMBER: _ClassVar[int]
    KERNEL_RELEASE_FIELD_NUMBER: _ClassVar[int]
    VIRTUALIZATION_FIELD_NUMBER: _ClassVar[int]
    components: _containers.RepeatedCompositeFieldContainer[Component]
    traits: _containers.RepeatedScalarFieldContainer[str]
    kernel_release: str
    virtualization: str
    def __init__(self, components: _Optional[_Iterable[_Union[Component, _Mapping]]] = ..., traits: _Optional[_Iterable[str]] = ..., kernel_release: _Optional[str] = ..., virtualization: _Optional[str] = ...) -> None: ...

class Component(_message.Message):
    __slots__ = ("kind", "locator", "vendor", "model", "serial", "firmware", "properties", "health")
    KIND_FIELD_NUMBER: _ClassVar[int]
    LOCATOR_FIELD_NUMBER: _ClassVar[int]
    VENDOR_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    FIRMWARE_FIELD_NUMBER: _ClassVar[int]
    PROPERTIES_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    kind: ComponentKind
    locator: str
    vendor: str
    model: str
    serial: str
    firmware: str
    properties: _containers.RepeatedCompositeFieldContainer[Property]
    health: Health
    def __init__(self, kind: _Optional[_Union[ComponentKind, str]] = ..., locator: _Optional[str] = ..., vendor: _Optional[str] = ..., model: _Optional[str] = ..., serial: _Optional[str] = ..., firmware: _Optional[str] = ..., properties: _Optional[_Iterable[_Union[Property, _Mapping]]] = ..., health: _Optional[_Union[Health, str]] = ...) -> None: ...

class Property(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: str
    def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
