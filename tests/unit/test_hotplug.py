"""uevents reach us through libudev, and what came is in the next inventory."""

from __future__ import annotations

import ctypes.util
import json
import os
import shutil
import subprocess
import sys
import textwrap

import pytest

# Runs under umockdev-wrapper: /sys and the netlink socket of udev are the testbed's.
TESTBED = textwrap.dedent(
    """
    import asyncio, ctypes, json
    from probes.host import Host
    from probes.hotplug import Hotplug
    from probes.inventory import ComponentKind, take

    library = ctypes.CDLL("libumockdev.so.0")
    library.umockdev_testbed_new.restype = ctypes.c_void_p
    library.umockdev_testbed_add_devicev.restype = ctypes.c_void_p
    library.umockdev_testbed_add_devicev.argtypes = [ctypes.c_void_p] + [ctypes.c_char_p] * 3 + [
        ctypes.c_void_p, ctypes.c_void_p]
    library.umockdev_testbed_uevent.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p]
    testbed = library.umockdev_testbed_new()

    def strings(**values):
        flat = [text.encode() for item in values.items() for text in item]
        return (ctypes.c_char_p * (len(flat) + 1))(*flat, None)

    def add(subsystem, name, parent=None, **attributes):
        return ctypes.string_at(library.umockdev_testbed_add_devicev(
            testbed, subsystem, name, parent, strings(**attributes), strings()))

    def devices():
        return [[c.model, c.serial] for c in take(host).of(ComponentKind.USB_DEVICE)]

    host = Host("/")
    before = devices()
    hotplug = Hotplug(host)
    heard = asyncio.Event()
    said = {"before": before}

    async def main():
        asyncio.get_running_loop().add_reader(hotplug.fileno(), heard.set)
        plugged = add(b"usb", b"1-1", idVendor="0403", idProduct="6001", product="FT232R",
                      serial="A9007UX1")
        await asyncio.wait_for(heard.wait(), 10)
        said["added"] = [[c.action, c.subsystem] for c in hotplug.drain(1)]
        said["with"] = devices()
        add(b"net", b"virtual/net/veth0")
        add(b"sound", b"card0")
        library.umockdev_testbed_uevent(testbed, plugged, b"remove")
        said["removed"] = [[c.action, c.subsystem] for c in hotplug.drain(2)]
        said["quiet"] = hotplug.drain(0) == ()

    asyncio.run(main())
    print(json.dumps(said))
    """
)


def test_a_device_that_is_plugged_is_heard_and_listed() -> None:
    wrapper = shutil.which("umockdev-wrapper")
    if wrapper is None or ctypes.util.find_library("umockdev") is None:
        pytest.skip("umockdev is not installed")
    done = subprocess.run(
        [wrapper, sys.executable, "-c", TESTBED],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    said = json.loads(done.stdout)
    assert said["before"] == []
    assert said["added"] == [["add", "usb"]]
    assert said["with"] == [["FT232R", "A9007UX1"]]
    assert said["removed"] == [["remove", "usb"]]  # neither the veth nor the sound card
    assert said["quiet"] is True
