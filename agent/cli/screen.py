"""A demo on a terminal: one picture a second, readable at 80x24 and without colour."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from agent.cli.lines import changes, joules, real, simulated, watts
from agent.cli.machine import describe

if TYPE_CHECKING:
    from agent.sandbox.moment import ExchangeMoment, LeaseMoment, Moment
    from probes.inventory import Inventory

KEPT = 600  # moments
RATE_OVER = 5  # moments: the share of a CPU is a mean over so many seconds
LEAST_SPAN = 20  # a sparkline spans at least a 20th of its largest value, so that noise stays flat
LEAST_HOST, LEAST_EVENTS = 3, 5
ROOMY = 26  # lines: room for a rule above the last two
FRAME_WIDTH = 140  # wider than this is no easier to read
WIDE = 110  # room for a whole lease id

FAINT = "dim"
STRONG = "bold"
GOOD = "green"
WARM = "yellow"
COOL = "cyan"
BAD = "bold red"


class Glyphs:
    """What bars, lines and marks are drawn with."""

    def __init__(self, *, ascii_only: bool) -> None:
        self.steps = "_.-=+*%#" if ascii_only else "▁▂▃▄▅▆▇█"
        self.full, self.empty = ("#", ".") if ascii_only else ("█", "░")
        self.rule = "-" if ascii_only else "─"
        self.up, self.down = ("+", "!") if ascii_only else ("●", "○")

    def sparkline(self, values: Sequence[int], width: int) -> str:
        """Draw the last `width` values, one character each, from their least to their largest."""
        shown = values[-width:] if width > 0 else []
        if not shown:
            return ""
        low, high = min(shown), max(shown)
        span = max(high - low, abs(high) // LEAST_SPAN, 1)
        low -= (span - (high - low)) // 2
        top = len(self.steps) - 1
        return "".join(self.steps[(value - low) * top // span] for value in shown)

    def bar(self, permille: int, width: int) -> str:
        """Draw a bar that is filled to `permille` of its width."""
        filled = max(0, min(width, (permille * width + 500) // 1000))
        return self.full * filled + self.empty * (width - filled)


def line(*parts: str | tuple[str, str]) -> Text:
    """One line of pieces, each plain or with its style."""
    return Text.assemble(" ", *parts, no_wrap=True, overflow="ellipsis")


class Screen:
    """The picture; a `Watcher` that shows what it is told."""

    def __init__(
        self, console: Console, inventory: Inventory | None, seconds: float | None
    ) -> None:
        """Make it.

        :param inventory: of this host; None when it could not be taken.
        :param seconds: how long the demo will run; None: until Ctrl-C.
        """
        self._console = console
        self._inventory = inventory
        self._seconds = seconds
        self._glyphs = Glyphs(ascii_only=console.options.ascii_only)
        self._events: deque[str] = deque(maxlen=KEPT)
        self._moments: deque[Moment] = deque(maxlen=KEPT)
        self._began_ms = 0  # of the first moment, from the agent's start
        self._over = False
        self._live = Live(self, console=console, screen=True, auto_refresh=False)

    def __enter__(self) -> Screen:
        self._live.start(refresh=True)
        return self

    def __exit__(self, *failure: object) -> None:
        """Give the terminal back, with the last picture left standing on it."""
        self._live.stop()
        self._over = True
        if self._moments:
            self._console.print(*self.picture(self._console.width, 0), sep="\n")

    def event(self, text: str) -> None:
        """Show that something happened."""
        self._note(text)
        self._live.refresh()

    def moment(self, now: Moment) -> None:
        """Show how things stand."""
        before = self._moments[-1] if self._moments else None
        if before is None:
            self._began_ms = now.elapsed_ms
        self._moments.append(now)
        for text in changes(before, now):
            self._note(text)
        self._live.refresh()

    def _note(self, text: str) -> None:
        elapsed = self._moments[-1].elapsed_ms - self._began_ms if self._moments else 0
        self._events.append(f"{_clock(elapsed // 1000)}  {text}")

    # --- the picture ---------------------------------------------------------------------------

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self.picture(options.max_width, options.height or console.height)

    def picture(self, width: int, height: int) -> list[Text]:
        """Draw everything in `height` lines of at most `width`; more lines where it is too low."""
        width = min(width, FRAME_WIDTH)
        now = self._moments[-1] if self._moments else None
        title = self._title(now, width)
        body = [
            *self._site(now, width),
            *self._leases(now, width),
            *self._exchanges(now, width),
            *self._money(now, width),
        ]
        foot = [
            *([] if 0 < height < ROOMY else [self._rule("", "", width)]),
            line(("real: ", STRONG), real(now)),
            line(("simulated: ", STRONG), simulated(now)),
        ]
        room = height - len(title) - len(body) - len(foot) - 2
        host = self._host(now)[: max(LEAST_HOST, room - 2 * LEAST_EVENTS)]
        left = max(LEAST_EVENTS if not height else 0, room - len(host))
        events = [line(text) for text in list(self._events)[-left:]] if left else []
        padding = [Text("")] * (left - len(events) if height else 0)
        inventory = "" if now is None else _inventory(now)
        agent = "" if now is None else _agent(now)
        return [
            *title,
            self._rule("host", inventory, width),
            *(line((f"{label:10}", FAINT), text) for label, text in host),
            *body,
            self._rule("events", agent, width),
            *events,
            *padding,
            *foot,
        ]

    def _rule(self, name: str, note: str, width: int) -> Text:
        rule = self._glyphs.rule
        left = f"{rule} {name} " if name else ""
        right = f" {note} {rule}" if note else ""
        middle = rule * max(0, width - len(left) - len(right))
        return Text.assemble(
            *((f"{rule} ", FAINT), (f"{name} ", STRONG)) if name else (),
            (middle, FAINT),
            *((f" {note} ", ""), (rule, FAINT)) if note else (),
            no_wrap=True,
            overflow="crop",
        )

    def _title(self, now: Moment | None, width: int) -> list[Text]:
        if now is None:
            return [line(("hearth demo", STRONG), "  starting")]
        assurance = next((item.assurance for item in now.exchanges if item.assurance), "")
        left = f"  node {now.identity.node_id[:16]}  {assurance}"
        shown = (now.elapsed_ms - self._began_ms) // 1000
        right = _clock(shown)
        if self._seconds is not None:
            right = f"{_clock(min(shown, round(self._seconds)))} of {_clock(round(self._seconds))}"
        right += "  ended" if self._over else "  Ctrl-C ends"
        gap = " " * max(2, width - len(left) - len(right) - 13)
        return [line(("hearth demo", STRONG), left, gap, (right, FAINT))]

    def _host(self, now: Moment | None) -> list[tuple[str, str]]:
        tpm = "" if now is None else now.identity.tpm
        if now is not None and "virtual-tpm" in {item.assurance for item in now.exchanges}:
            tpm += " (swtpm)"
        return [] if self._inventory is None else describe(self._inventory, tpm)

    def _site(self, now: Moment | None, width: int) -> list[Text]:
        rows = [self._rule("energy and heat", "simulated meters", width)]
        for label, style, field, total in (
            ("power", COOL, "power_mw", None if now is None else joules(now.energy_mj)),
            ("heat", WARM, "heat_mw", None if now is None else joules(now.heat_mj)),
        ):
            values = [getattr(item, field) for item in self._moments]
            known = [value for value in values if value is not None]
            value = watts(values[-1]) if values else ""
            counted = "" if total is None else f"{total} {'used' if label == 'power' else 'reused'}"
            room = max(0, width - 40)
            drawn = self._glyphs.sparkline(known, room)
            rows.append(
                line(
                    (f"{label:10}", FAINT),
                    f"{value:>9}  ",
                    (f"{drawn:{room}}", style),
                    f"  {counted:>15}",
                )
            )
        return rows

    def _leases(self, now: Moment | None, width: int) -> list[Text]:
        free = "" if now is None else _free(now)
        rows = [self._rule("leases", free, width)]
        leases = now.leases if now is not None else ()
        rows += [self._lease(lease, width) for lease in leases]
        return rows if leases else [*rows, line(("none yet", FAINT))]

    def _lease(self, lease: LeaseMoment, width: int) -> Text:
        permille = self._share(lease)
        vcpus = lease.units.get("VCPU", 0)
        running = lease.state == "ACTIVE"
        told = f"{permille // 10:>3} % of {vcpus} VCPU" if running else lease.state.lower()
        style = ""
        if lease.outage:
            told, style = "STAGED OUTAGE", BAD
        name = f" {lease.lease_id}" if width >= WIDE else ""
        room = max(4, width - 61 - len(name))
        drawn = self._glyphs.bar(permille if running else 0, room)
        return line(
            f"{lease.exchange[:9]:9}",
            (f"{name} ", FAINT),
            (drawn, GOOD),
            (f" {told:15}", style),
            f"{lease.used_cpu_ms / 1000:>8.1f} s",
            f"{joules(lease.energy_mj):>9}",
            f"{_thousands(lease.amount_due_msat):>10} msat",
        )

    def _share(self, lease: LeaseMoment) -> int:
        """Permille of the leased CPUs that was used over the last moments."""
        seen = [
            (moment.elapsed_ms, item.used_cpu_ms)
            for moment in list(self._moments)[-RATE_OVER - 1 :]
            for item in moment.leases
            if (item.exchange, item.lease_id) == (lease.exchange, lease.lease_id)
        ]
        elapsed = seen[-1][0] - seen[0][0]
        used = seen[-1][1] - seen[0][1]
        return used * 1000 // (elapsed * max(1, lease.units.get("VCPU", 1))) if elapsed else 0

    def _exchanges(self, now: Moment | None, width: int) -> list[Text]:
        log = "" if now is None else f"log {now.log_size} leaves, checkpoint {now.checkpoint_size}"
        wider = max(0, width - 80) // len(_COLUMNS)
        header = "".join(f"{name:>{room + wider}}" for name, room, _ in _COLUMNS)
        rows = [self._rule("exchanges", log, width), line((f"{'':10}{header}", FAINT))]
        return rows + [self._exchange(item, wider) for item in (now.exchanges if now else ())]

    def _exchange(self, item: ExchangeMoment, wider: int) -> Text:
        mark = self._glyphs.up if item.connected else self._glyphs.down
        cells: list[tuple[str, str]] = []
        for name, room, field in _COLUMNS:
            value = getattr(item, field)
            style = BAD if name == "rejected" and value else ""
            cells.append((f"{_thousands(value):>{room + wider}}", style))
        return line(f"{item.name[:8]:8} ", (mark, GOOD if item.connected else BAD), *cells)

    def _money(self, now: Moment | None, width: int) -> list[Text]:
        network = "" if now is None else now.network
        node = f"Lightning, {network}" if network else "simulated Lightning"
        rows = [self._rule("money", node, width)]
        for item in now.exchanges if now is not None else ():
            money = item.money
            paid = f"{money.invoices_paid} of {money.invoices_issued}"
            given = f"{money.rebates_paid + money.rebates_netted} of {money.rebates_issued} rebates"
            returned = f"{_thousands(money.returned_msat + money.netted_msat):>6} msat"
            rows.append(
                line(
                    f"{item.name[:9]:9}",
                    f"{paid:>9} invoices paid",
                    (f"{_thousands(money.paid_msat):>9} msat", GOOD),
                    *(
                        (f"{given:>17} back", (returned, WARM))
                        if money.rebates_issued
                        else ((f"{'no rebate due':>33}", FAINT),)
                    ),
                )
            )
        return rows


# Heading, least width and field of ExchangeMoment.
_COLUMNS = (
    ("offers", 7, "offers_accepted"),
    ("receipts", 9, "receipts_issued"),
    ("verified", 9, "receipts_verified"),
    ("acked", 6, "receipts_acked"),
    ("rejected", 9, "receipts_rejected"),
    ("checkpoints", 12, "checkpoints_verified"),
    ("challenges", 11, "challenges_passed"),
)


def _clock(seconds: int) -> str:
    return f"{seconds // 60:02}:{seconds % 60:02}"


def _thousands(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _inventory(now: Moment) -> str:
    identity = now.identity
    return f"inventory {identity.inventory_digest[:8]}, generation {identity.inventory_generation}"


def _agent(now: Moment) -> str:
    return f"agent {now.peak_rss_kib / 1024:.1f} MiB, {now.cpu_ms / 1000:.1f} s CPU"


def _free(now: Moment) -> str:
    units = [
        f"{now.available.get(name, 0)} of {now.capacity[name]} {name}"
        for name in sorted(now.capacity, reverse=True)  # VCPU before MEMORY_MB
    ]
    return f"free {', '.join(units)}; {now.oversold_units} sold twice"
