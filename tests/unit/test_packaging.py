"""What would go wrong on somebody's host, or in somebody's build, without a word here."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import msgspec
import pytest

from agent.config import Config
from agent.config_file import load
from agent.version import version

ROOT = Path(__file__).parents[2]
DEBIAN = ROOT / "packaging" / "debian"
APACHE = (ROOT / "LICENSE").read_text()
MAKE_SITE = ROOT / "packaging" / "make_site.py"


def test_package_and_project_have_one_version() -> None:
    first = (DEBIAN / "changelog").read_text().splitlines()[0]
    assert f"({version()})" in first


@pytest.fixture
def uncommented(tmp_path: Path) -> Path:
    """The example configuration with every default in force."""
    text = (DEBIAN / "hearth.toml").read_text()
    file = tmp_path / "hearth.toml"
    file.write_text(re.sub(r"^#(?=[a-z\[\]]|  \{)", "", text, flags=re.MULTILINE))
    return file


def test_the_example_configuration_says_the_defaults(uncommented: Path) -> None:
    assert tomllib.loads((DEBIAN / "hearth.toml").read_text()) == {}
    assert load(uncommented) == Config()


def test_the_example_configuration_names_every_key(uncommented: Path) -> None:
    said = (DEBIAN / "hearth.toml").read_text()
    unsaid = [
        f"{table.name}.{key.name}"
        for table in msgspec.structs.fields(Config)
        if isinstance(table.type, type) and issubclass(table.type, msgspec.Struct)
        for key in msgspec.structs.fields(table.type)
        if not re.search(rf"^#\s*(\[\[?{table.name}\.)?{key.name}\b", said, re.MULTILINE)
    ]
    assert unsaid == []


def requirements(part: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, MAKE_SITE, "requirements", part, ROOT / "packaging" / "requirements.txt"],
        capture_output=True,
        text=True,
        check=True,
    )
    return re.findall(r"^([a-z0-9-]+)==", done.stdout, re.MULTILINE)


def test_the_plan_of_the_packages_names_what_is_in_the_lock() -> None:
    plan = tomllib.loads((DEBIAN / "site.toml").read_text())
    lock = (ROOT / "packaging" / "requirements.txt").read_text()
    locked = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
    assert {*plan["lightning"], *plan["left_out"], *plan["source_only"]} <= locked
    parts = {part: requirements(part) for part in ("core", "lightning", "source")}
    every = [*parts["core"], *parts["lightning"], *parts["source"]]
    assert sorted(every) == sorted(locked - set(plan["left_out"]))
    assert "grpcio" in parts["core"]
    assert "pyln-client" in parts["lightning"]
    assert parts["source"] == sorted(plan["source_only"])


def wheel(folder: Path, name: str, files: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-1.dist-info"
    known = {f"{info}/METADATA": f"Name: {name}\nVersion: 1\n\nlong", f"{info}/RECORD": "noise"}
    with zipfile.ZipFile(folder / f"{name}-1-py3-none-any.whl", "w") as archive:
        for path, text in {**known, **files}.items():
            archive.writestr(path, text)


def site(tmp_path: Path) -> subprocess.CompletedProcess[str]:
    words = ["site", "core", tmp_path / "site", tmp_path / "notice", tmp_path / "wheels"]
    return subprocess.run(
        [sys.executable, MAKE_SITE, *words], capture_output=True, text=True, check=False
    )


def test_wheels_share_a_folder_and_leave_their_noise_behind(tmp_path: Path) -> None:
    extension = {f"thing.cpython-{tag}-x86_64-linux-gnu.so": tag for tag in ("311", "313")}
    for path, text in extension.items():
        modules = {path: text, "thing.py": "same", "thing/tests/test_it.py": "", "it/x.pyi": ""}
        modules["run.py"] = "#!/usr/bin/env python\n"
        licence = {"thing-1.dist-info/licenses/LICENSE": f"{APACHE}\nand do what you like"}
        wheel(tmp_path / "wheels" / text, "thing", {**modules, **licence})
    wheel(tmp_path / "wheels", "pygments", {"pygments.py": ""})  # left out
    assert site(tmp_path).returncode == 0
    files = (file for file in (tmp_path / "site").rglob("*") if file.is_file())
    found = {str(file.relative_to(tmp_path / "site")) for file in files}
    assert found == {*extension, "thing.py", "run.py", "thing-1.dist-info/METADATA"}
    assert (tmp_path / "site" / "run.py").read_text() == "# /usr/bin/env python\n"
    notice = (tmp_path / "notice").read_text()
    assert "and do what you like" in notice
    assert "common-licenses/Apache-2.0" in notice
    assert "TERMS AND CONDITIONS" not in notice


def test_wheels_that_disagree_are_refused(tmp_path: Path) -> None:
    wheel(tmp_path / "wheels" / "311", "thing", {"thing.py": "one"})
    wheel(tmp_path / "wheels" / "313", "thing", {"thing.py": "another"})
    done = site(tmp_path)
    assert done.returncode == 1
    assert "thing.py is not as in another wheel" in done.stderr


def test_an_isolated_interpreter_is_started_again_as_itself(tmp_path: Path) -> None:
    """What /usr/bin/hearth runs: the daemon must find the modules as the command did."""
    (tmp_path / "agent").symlink_to(ROOT / "agent")
    (tmp_path / "__main__.py").symlink_to(ROOT / "packaging" / "site_main.py")
    (tmp_path / "probe.py").write_text(
        "import sys\nfrom agent.interpreter import python\nprint(python(), sys.argv, sys.path[0])\n"
    )
    started = [sys.executable, "-BIS", str(tmp_path)]
    done = subprocess.run(
        [*started, "-m", "probe", "word"], capture_output=True, text=True, check=True
    )
    found, arguments = started, [str(tmp_path / "probe.py"), "word"]
    assert done.stdout.strip() == f"{found} {arguments} {tmp_path}"


def test_nothing_is_started_but_as_itself() -> None:
    """`python -m agent...` finds nothing on a host that has the package."""
    named = [
        str(module.relative_to(ROOT))
        for module in sorted((ROOT / "agent").rglob("*.py"))
        if "sys.executable" in module.read_text()
    ]
    assert named == ["agent/interpreter.py"]


def test_there_is_a_page_for_every_command(tmp_path: Path) -> None:
    from agent.cli.app import app

    program = ROOT / "packaging" / "make_manuals.py"
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT}/proto/gen/python", "SOURCE_DATE_EPOCH": "86400"}
    subprocess.run([sys.executable, program, tmp_path], check=True, env=environment)
    pages = {page.name: page.read_text() for page in (tmp_path / "usr/share/man/man1").iterdir()}
    groups = {group.name for group in app.registered_groups}
    commands = {command.name for command in app.registered_commands} | groups
    assert set(pages) == {"hearth.1", *(f"hearth-{name}.1" for name in commands)}
    assert "1970\\-01\\-02" in pages["hearth.1"] or "1970-01-02" in pages["hearth.1"]
    assert "hearth receipts export\\-proof" in pages["hearth-receipts.1"]
    assert "7 the journal" in pages["hearth.1"]
    assert "\\fIfocus|csv|jsonl\\fR" in pages["hearth-settlement.1"]
    assert [name for name, page in pages.items() if "Default: ." in page or "`" in page] == []
    for shell in ("bash-completion/completions/hearth", "zsh/vendor-completions/_hearth"):
        assert "_HEARTH_COMPLETE" in (tmp_path / "usr/share" / shell).read_text()


@pytest.mark.parametrize(
    "asked",
    [
        {"_HEARTH_COMPLETE": "complete_bash", "COMP_WORDS": "hearth st", "COMP_CWORD": "1"},
        {"_HEARTH_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "hearth st"},
        {
            "_HEARTH_COMPLETE": "complete_fish",
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
            "_TYPER_COMPLETE_ARGS": "hearth st",
        },
    ],
    ids=["bash", "zsh", "fish"],
)
def test_completions_need_nothing_that_the_package_leaves_out(
    tmp_path: Path, asked: dict[str, str]
) -> None:
    left_out = tomllib.loads((DEBIAN / "site.toml").read_text())["left_out"]
    for module in ("markdown_it", "mdurl", "pygments"):
        assert module.replace("_it", "-it-py") in left_out
        (tmp_path / f"{module}.py").write_text("raise ModuleNotFoundError(__name__)\n")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.argv = ['hearth']\nfrom agent.cli.app import main; main()",
        ],
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}:{ROOT}/proto/gen/python", **asked},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert "status" in done.stdout
