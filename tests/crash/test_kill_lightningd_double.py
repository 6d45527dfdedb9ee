"""kill -9 on the double of Core Lightning: what it answered is what it finds again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from agent.settle.runes import parse
from tests.fakes.cln_ask import ask


def test_the_double_keeps_its_books_through_kill_9(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "agent.sandbox.lightningd", "--keep", "--dir", str(tmp_path)]

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*command, "a", "b"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        return process

    def end(process: subprocess.Popen[str]) -> None:
        os.kill(process.pid, 9)
        process.wait()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            stream.close()

    first = start()
    made = ask(tmp_path / "a.sock", "invoice", amount_msat=1000, label="x", description="d")
    rune = ask(tmp_path / "a.sock", "createrune", restrictions=[["method=getinfo"]])["rune"]
    ask(tmp_path / "b.sock", "xpay", invstring=made["bolt11"])
    end(first)
    second = start()
    try:
        paid = ask(tmp_path / "a.sock", "waitanyinvoice", lastpay_index=0, timeout=1)
        assert paid["bolt11"] == made["bolt11"]
        (row,) = ask(tmp_path / "b.sock", "listsendpays")["payments"]  # type: ignore[misc]
        assert row["payment_preimage"] == paid["payment_preimage"]  # type: ignore[index]
        assert parse(str(rune)).unique_id == "0"
        valid = ask(tmp_path / "a.sock", "checkrune", rune=rune, method="getinfo", params={})
        assert valid == {"valid": True}
    finally:
        end(second)
