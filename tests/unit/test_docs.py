"""What the documents point at is there, and what they list is complete."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from typer.main import get_command

from agent.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "proto" / "README.md", *(ROOT / "docs").rglob("*.md")],
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    lost = [to for to in links if "://" not in to and not (page.parent / to).exists()]
    assert not lost


def test_readme_names_every_command() -> None:
    text = (ROOT / "README.md").read_text()
    commands = getattr(get_command(app), "commands", {})
    assert commands
    assert [name for name in commands if f"`hearth {name}" not in text] == []


def test_every_module_of_the_agent_has_its_layer_and_its_row() -> None:
    """One that is in no layer is held to none, whatever it imports."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = (each["layers"] for each in contracts["contracts"] if each["id"] == "layers")
    held = {name for layer in layers for name in layer.split(" | ")}
    folder = ROOT / "agent"
    packages = [each.parent for each in folder.glob("*/__init__.py")]
    modules = [each for each in folder.glob("*.py") if each.stem != "__init__"]
    assert {f"agent.{each.stem}" for each in (*packages, *modules)} == {
        name for name in held if name.startswith("agent.")
    }
    page = (ROOT / "docs" / "architecture.md").read_text()
    (drawn,) = re.findall(r"```\n(agent\.cli > .*?)```", page, re.DOTALL)
    assert [" ".join(layer.split()) for layer in drawn.split(" > ")] == layers
    rows = {each.name for each in modules if f"{each.name}`" in page}
    assert rows == {each.name for each in modules}
