"""What the documents point at is there, and what they list is complete."""

from __future__ import annotations

import re
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
