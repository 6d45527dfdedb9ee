"""`hearth settlement setup`: what it prints, what it finds, how it ends."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from typer.testing import CliRunner

from agent.cli.app import app
from agent.core.secp256k1 import compressed, times_generator
from agent.errors import ConfigError
from agent.sandbox.lightningd.methods import make_node
from agent.sandbox.lightningd.network import Network
from agent.settle.audit import Purpose, restrictions
from tests.fakes.cln_ask import ask

NODE_ID = "02" + "ab" * 32


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["settlement", "setup", *words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


def commands(said: str) -> list[list[list[str]]]:
    lines = [line for line in said.splitlines() if line.startswith("lightning-cli createrune -k ")]
    return [json.loads(line.partition("='")[2].removesuffix("'")) for line in lines]


def config(directory: Path, text: str) -> str:
    path = directory / "hearth.toml"
    path.write_text(text)
    return str(path)


def rune_file(directory: Path, name: str, wanted: object) -> Path:
    node = make_node(Network(seed=1), "somebody")
    path = directory / name
    path.write_text(node.call("createrune", restrictions=wanted)["rune"] + "\n")
    return path


def test_without_a_rail_it_says_how_to_get_one(tmp_path: Path) -> None:
    code, said = run("--config", config(tmp_path, ""), "--most-msat", "5000", "--every", "10min")
    assert code == 0
    assert "nothing is invoiced" in said
    invoice, pay, payments = commands(said)
    assert ["method/invoice", "pnameexpiry>0"] in invoice
    assert ["method/invoice", "pnameexpiry<86401"] in invoice
    assert pay == [
        ["method=sendamount"], ["pnameamount_msat>0"], ["pnameamount_msat<5001"], ["per=10min"],
    ]  # fmt: skip
    assert payments == [["method=listsendpays"]]
    assert "xpay-slow-mode=true" in said


def test_the_socket_is_full_control_and_it_says_so(tmp_path: Path) -> None:
    text = '[settlement]\nrail = "cln"\nsocket = "/run/lightning/lightning-rpc"\n'
    code, said = run("--config", config(tmp_path, text))
    assert code == 0
    assert "WARNING: lightning-rpc is full control of the node" in said


def commando(directory: Path, pay: object) -> str:
    invoice = rune_file(directory, "invoice.rune", restrictions(Purpose.INVOICE))
    paying = rune_file(directory, "pay.rune", pay)
    return config(
        directory,
        f'[settlement]\nrail = "cln-commando"\nnode = "{NODE_ID}@127.0.0.1:9735"\n'
        f'invoice_rune_file = "{invoice}"\npay_rune_file = "{paying}"\n',
    )


def test_good_runes_are_fine(tmp_path: Path) -> None:
    wanted = restrictions(Purpose.PAY, most_msat=1000, every="1min")
    code, said = run("--config", commando(tmp_path, wanted))
    assert code == 0
    assert "invoice rune: fine" in said
    assert "pay rune: fine" in said
    assert len(commands(said)) == 3, "one is missing"


def test_with_all_runes_fine_there_is_nothing_more_to_say(tmp_path: Path) -> None:
    wanted = restrictions(Purpose.PAY, most_msat=1000, every="1min")
    path = Path(commando(tmp_path, wanted))
    seeing = rune_file(tmp_path, "payments.rune", restrictions(Purpose.PAYMENTS))
    path.write_text(path.read_text() + f'payments_rune_file = "{seeing}"\n')
    assert run("--config", str(path)) == (
        0,
        f"rail cln-commando, {NODE_ID}@127.0.0.1:9735\n"
        "invoice rune: fine\npay rune: fine\npayments rune: fine\n",
    )
    code, said = run("--config", str(path), "--most-msat", "2000")
    assert (code, len(commands(said))) == (0, 3)


def test_statements_need_no_node(tmp_path: Path) -> None:
    text = f'[settlement]\nrail = "statement"\ndirectory = "{tmp_path}"\n'
    code, said = run("--config", config(tmp_path, text))
    assert (code, commands(said)) == (0, [])
    assert said == f"rail statement, {tmp_path}: no node to be set up\n"


def test_a_rune_that_could_drain_the_node_ends_with_1(tmp_path: Path) -> None:
    code, said = run("--config", commando(tmp_path, [["method=sendamount"]]))
    assert code == 1
    assert "pay rune: not as it should be" in said
    assert "DRAINS THE NODE: it has no `per`" in said


def test_a_rune_that_pays_more_than_the_agent_may_is_found_out(tmp_path: Path) -> None:
    bitcoin = restrictions(Purpose.PAY, most_msat=100_000_000_000, every="1min")
    path = Path(commando(tmp_path, bitcoin))
    code, said = run("--config", str(path))
    assert code == 1
    assert "DRAINS THE NODE: it allows payments above 1000000 msat" in said
    path.write_text(path.read_text() + "[settlement.caps]\npayment_msat = 100000000000\n")
    code, said = run("--config", str(path))
    assert (code, "pay rune: fine" in said) == (0, True)


@pytest.mark.parametrize("every", ["", "banana", "1minute", "0min", "9msec", "1sec' x"])
def test_no_command_is_written_with_an_interval_that_is_none(tmp_path: Path, every: str) -> None:
    code, said = run("--config", config(tmp_path, ""), "--every", every)
    assert (code, commands(said)) == (2, [])


def test_any_rune_can_be_asked_about(tmp_path: Path) -> None:
    path = rune_file(tmp_path, "any.rune", "readonly")
    code, said = run("--config", config(tmp_path, ""), "--rune", str(path), "--for", "payments")
    assert code == 1
    assert "DRAINS THE NODE: it does not name the methods" in said
    assert "createrune" not in said


def test_a_new_key_binds_the_runes(tmp_path: Path) -> None:
    path = tmp_path / "lightning.key"
    code, said = run("--new-key", str(path))
    assert code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    ours = compressed(times_generator(int(path.read_text(), 16))).hex()
    assert ours in said
    with pytest.raises(ConfigError, match="not there yet"):
        run("--new-key", str(path))
    code, said = run("--config", config(tmp_path, f'[settlement]\nkey_file = "{path}"\n'))
    assert code == 0
    assert all([f"id={ours}"] in rows for rows in commands(said))


@pytest.fixture
def double(tmp_path: Path) -> Iterator[tuple[IO[str], IO[str], Path]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "agent.sandbox.lightningd", "--dir", str(tmp_path / "ln"), "node"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    yield process.stdin, process.stdout, Path(ready["node"]["socket"])
    process.stdin.close()
    assert process.wait(10) == 0
    process.stdout.close()


def test_the_node_is_asked_as_well(tmp_path: Path, double: tuple[IO[str], IO[str], Path]) -> None:
    socket = double[2]
    path = tmp_path / "x.rune"
    good = restrictions(Purpose.PAY, most_msat=1000, every="1min", node_id=NODE_ID)
    path.write_text(str(ask(socket, "createrune", restrictions=good)["rune"]))
    words = ("--config", config(tmp_path, ""), "--rune", str(path), "--for", "pay")
    code, said = run(*words, "--socket", str(socket))
    assert (code, said) == (0, "pay rune: fine\n")
    bad = [["method=sendamount", "method=withdraw"]]
    path.write_text(str(ask(socket, "createrune", restrictions=bad)["rune"]))
    code, said = run(*words, "--socket", str(socket))
    assert code == 1
    assert "the node allows withdraw: moves money" in said
    assert "the node allows sendamount: pays any amount" in said
    path.write_text(rune_file(tmp_path, "other.rune", good).read_text())
    code, said = run(*words, "--socket", str(socket))
    assert code == 1  # its words are good, and the node does not know it
    assert "the node refuses sendamount: Not authorized" in said


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    for text, words in (
        ('rail = "cln"', "settlement.socket"),
        ('rail = "cln-commando"', "settlement.node"),
        (f'rail = "cln-commando"\nnode = "{NODE_ID}@h:9735"', "invoice_rune_file"),
        (f'rail = "cln-commando"\nnode = "{NODE_ID}@h:99999"', "settlement.node"),
        ('rail = "lnd"', "settlement.rail"),
    ):
        with pytest.raises(ConfigError, match=words):
            run("--config", config(tmp_path, f"[settlement]\n{text}\n"))
