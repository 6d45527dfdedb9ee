"""What every test may use, and the account of the tests that could not run."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from agent.sandbox.swtpm import Swtpm
    from attest.tpm import Tpm

# A property holds or it does not; how long one example takes on a busy machine is another matter.
settings.register_profile("hearth", deadline=None)
settings.load_profile("hearth")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the tests marked `long` as well")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--long"):
        return
    long = [item for item in items if item.get_closest_marker("long")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """`@pytest.mark.hardware("/dev/tpmrm0")`: runs where all these paths exist."""
    for marker in item.iter_markers("hardware"):
        assert marker.args, "say which device: @pytest.mark.hardware('/dev/...')"
        missing = [path for path in marker.args if not Path(path).exists()]
        if missing:
            pytest.skip(f"no {', '.join(missing)} here")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name every test that could not run, and why: a skip nobody reads is a hole."""
    not_run = [
        (report.nodeid, _reason(report)) for report in terminalreporter.stats.get("skipped", [])
    ]
    if not not_run:
        return
    terminalreporter.section("not run")
    for nodeid, reason in not_run:
        terminalreporter.write_line(f"{nodeid}: {reason}")
    counted = Counter(reason for _, reason in not_run)
    reasons = "; ".join(f"{count} x {reason}" for reason, count in counted.most_common())
    terminalreporter.write_line(f"not run: {len(not_run)} ({reasons})")


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    said = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return said.removeprefix("Skipped: ")


@pytest.fixture(scope="session")
def swtpm_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manufactured TPM that never ran: copy it, or start it where it lies and change nothing."""
    from agent.sandbox.swtpm import manufacture

    for tool in ("swtpm", "swtpm_setup", "swtpm_localca"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    directory = tmp_path_factory.mktemp("swtpm")
    manufacture(directory)
    return directory


@pytest.fixture(scope="session")
def swtpm(swtpm_state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swtpm]:
    """A software TPM for the whole session: leave it as you found it, and let it go."""
    from agent.sandbox.swtpm import Swtpm

    directory = tmp_path_factory.mktemp("swtpm-session") / "tpm"
    shutil.copytree(swtpm_state, directory)
    running = Swtpm.start(directory)
    yield running
    running.stop()


@pytest.fixture
def fresh_swtpm(swtpm_state: Path, tmp_path: Path) -> Iterator[Swtpm]:
    """A software TPM of one's own, to kill, clear and restart; the same seeds each time."""
    from agent.sandbox.swtpm import Swtpm

    shutil.copytree(swtpm_state, tmp_path / "tpm")
    running = Swtpm.start(tmp_path / "tpm")
    yield running
    running.stop()


@pytest.fixture
def tpm(swtpm: Swtpm) -> Iterator[Tpm]:
    """An open TPM with its AK."""
    from attest.tpm import Tpm

    opened = Tpm.open(swtpm.tcti)
    yield opened
    opened.close()
