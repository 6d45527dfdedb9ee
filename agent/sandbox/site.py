"""The simulated site: an energy meter and a heat meter that follow this host's real CPU load.

    python -m agent.sandbox.site --ready-file F

Serves on loopback ports that the system chooses and writes them to F as JSON: `modbus_port`,
`modbus_unit`, `modbus_map`, `mbus_port`, `mbus_address`. Stands still for nobody: it ends on
SIGTERM or SIGINT, and when its standard input ends, which happens when its parent dies.

Standard input takes one JSON object a line, and each is answered by one on standard output:
`{"meter": "energy", "fault": "hang"}` (`hang`, `drop`, `checksum`, `truncate`, `freeze`, or null
for none) and `{"meter": "heat", "reset": true}`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path

import psutil

from agent.sandbox import energy_meter, heat_meter
from agent.sandbox.energy_meter import EnergyMeter
from agent.sandbox.heat_meter import HeatMeter
from agent.sandbox.plant import Plant

TICK_S = 0.25
MAX_LINE = 4096


def control(meters: dict[str, EnergyMeter | HeatMeter], line: bytes) -> dict[str, object]:
    """Carry out one control line and say what was done, or what is wrong with it."""
    try:
        wish = json.loads(line)
        meter = meters[wish["meter"]]
        if wish.get("reset"):
            meter.reset()
        if "fault" in wish:
            if wish["fault"] is not None and wish["fault"] not in meter.FAULTS:
                return {"error": f"fault is one of {', '.join(meter.FAULTS)}, or null"}
            meter.fault = wish["fault"]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {"applied": wish}


async def follow_load(plant: Plant) -> None:
    """Let the plant follow the mean CPU load of this machine, tick by tick."""
    psutil.cpu_percent()  # the first call only sets the mark
    while True:
        await asyncio.sleep(TICK_S)
        plant.advance(time.monotonic_ns(), round(psutil.cpu_percent() * 10))


async def obey(meters: dict[str, EnergyMeter | HeatMeter]) -> None:
    """Read control lines until standard input ends."""
    reader = asyncio.StreamReader(limit=MAX_LINE)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    try:
        while line := await reader.readline():
            sys.stdout.write(json.dumps(control(meters, line)) + "\n")
            sys.stdout.flush()
    finally:
        transport.close()


def announce(ready_file: Path, energy: EnergyMeter, heat: HeatMeter) -> None:
    """Write where the meters answer, all at once."""
    where = {
        "modbus_port": energy.port,
        "modbus_unit": energy_meter.UNIT,
        "modbus_map": energy_meter.MAP,
        "mbus_port": heat.port,
        "mbus_address": heat_meter.ADDRESS,
        "pid": os.getpid(),
    }
    partial = ready_file.with_name(ready_file.name + ".partial")
    partial.write_text(json.dumps(where) + "\n")
    partial.replace(ready_file)


async def run(ready_file: Path) -> None:
    """Serve both meters until told to stop."""
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # it dumps the packets of each fault
    plant = Plant(time.monotonic_ns())
    plant.advance(time.monotonic_ns(), 0)
    energy, heat = EnergyMeter(plant), HeatMeter(plant)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await energy.start()
    await heat.start()
    announce(ready_file, energy, heat)
    tasks = [
        asyncio.create_task(follow_load(plant), name="load"),
        asyncio.create_task(obey({"energy": energy, "heat": heat}), name="control"),
        asyncio.create_task(stop.wait(), name="stop"),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()  # a failure ends the process with its trace, not silently
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
        await heat.stop()
        await energy.stop()


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m agent.sandbox.site", description=__doc__)
    parser.add_argument("--ready-file", type=Path, required=True)
    asyncio.run(run(parser.parse_args().ready_file))


if __name__ == "__main__":
    main()
