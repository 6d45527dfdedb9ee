"""What a rune must not allow, and whether it does. Pure; works without the node.

A rune carries its restrictions in itself, so it can be judged here; its node says whether it is
genuine. `rate` and `per` are taken as satisfied: what they only delay is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from agent.settle.runes import Alternative, Call, Rune, interval_ns, refusal

MOST_EXPIRY_S = 86_400
LABEL_PREFIX = "hearth/"
# More than exists: 21 million bitcoin in millisatoshi.
EVERYTHING_MSAT = 2_100_000_000_000_000_000
_AN_INVOICE = "lnbcrt1"
_PAUSE_NS = 1_000_000_000  # a shorter one between two payments is none


class Purpose(StrEnum):
    """What a rune is for."""

    INVOICE = "invoice"  # being paid
    PAY = "pay"  # rebates
    PAYMENTS = "payments"  # looking at what was paid


ALLOWED: Mapping[Purpose, frozenset[str]] = {
    Purpose.INVOICE: frozenset({"invoice", "listinvoices", "waitanyinvoice"}),
    Purpose.PAY: frozenset({"sendamount"}),
    Purpose.PAYMENTS: frozenset({"listsendpays"}),
}
# Named only to say what a method is; whatever is not allowed by name is a finding.
_DRAINS = frozenset({
    "close", "createonion", "createrune", "fundchannel", "fundchannel_complete", "fundpsbt",
    "injectpaymentonion", "keysend", "multifundchannel", "multiwithdraw", "pay", "plugin",
    "recover", "renepay", "sendamount", "sendonion", "sendpay", "sendpsbt", "signpsbt",
    "splice_signed", "txsend", "withdraw", "xkeysend", "xpay",
})  # fmt: skip
_TELLS = frozenset({
    "exposesecret", "getemergencyrecoverdata", "getsharedsecret", "listfunds", "makesecret",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a rune allows and should not. `drains`: it can move the node's money away."""

    text: str
    drains: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """A call that must be refused, or that must be permitted."""

    method: str
    params: Mapping[str, object] | tuple[object, ...] = field(default_factory=dict)
    must_pass: bool = False
    why: str = ""


def _invoice(**changes: object) -> dict[str, object]:
    usual: dict[str, object] = {
        "amount_msat": 1000,
        "label": f"{LABEL_PREFIX}check",
        "description": "check",
        "expiry": 3600,
        "deschashonly": True,
    }
    return {**usual, **changes}


# For `checkrune`, which answers for the node itself.
CHECKS: Mapping[Purpose, tuple[Check, ...]] = {
    Purpose.INVOICE: (
        Check("invoice", _invoice(), must_pass=True),
        Check("listinvoices", {"label": f"{LABEL_PREFIX}check"}, must_pass=True),
        Check("waitanyinvoice", {"lastpay_index": 0, "timeout": 1}, must_pass=True),
        Check("invoice", _invoice(expiry=-1), why="an expiry of -1 aborts the node"),
        Check("invoice", (1000, f"{LABEL_PREFIX}check", "check", -1), why="the same by position"),
        *(Check(method, why="moves money") for method in ("withdraw", "xpay", "sendamount")),
        *(
            Check(method, why="tells secrets")
            for method in ("listfunds", "getemergencyrecoverdata")
        ),
        Check("createrune", why="makes any other rune"),
    ),
    Purpose.PAY: (
        Check("sendamount", {"invstring": _AN_INVOICE, "amount_msat": 1}, must_pass=True),
        Check(
            "sendamount",
            {"invstring": _AN_INVOICE, "amount_msat": EVERYTHING_MSAT},
            why="pays any amount",
        ),
        Check("sendamount", (_AN_INVOICE, EVERYTHING_MSAT), why="pays any amount, by position"),
        Check("xpay", {"invstring": _AN_INVOICE}, why="pays whatever an invoice asks for"),
        Check("withdraw", why="moves money"),
        Check("createrune", why="makes any other rune"),
    ),
    Purpose.PAYMENTS: (
        Check("listsendpays", {"payment_hash": "00" * 32}, must_pass=True),
        *(Check(method, why="moves money") for method in ("withdraw", "xpay", "sendamount")),
        Check("listfunds", why="tells what the node has"),
        Check("createrune", why="makes any other rune"),
    ),
}


def holder(rune: Rune) -> str:
    """The id to which a rune is bound; empty when it is bound to none."""
    return next((a.value for row in rune.restrictions for a in row if a.field == "id"), "")


def permits(rune: Rune, check: Check) -> bool:
    """Whether the rune lets this call pass, sooner or later, for its holder."""
    patient = Rune(rune.code, rune.unique_id, tuple(map(_without_rates, rune.restrictions)))
    return refusal(patient, Call(check.method, check.params, node_id=holder(rune))) is None


def _without_rates(row: tuple[Alternative, ...]) -> tuple[Alternative, ...]:
    timed = any(a.field in {"rate", "per"} and interval_ns(a) is not None for a in row)
    return (Alternative("", "#", ""),) if timed else row


def methods(rune: Rune) -> frozenset[str] | None:
    """The methods that a rune names; None when it does not bound them by naming them."""
    named = [
        frozenset(alternative.value for alternative in row)
        for row in rune.restrictions
        if all(a.field == "method" and a.condition == "=" for a in row)
    ]
    return frozenset.intersection(*named) if named else None


def slowed(rune: Rune) -> bool:
    """Whether the rune bounds how often it may be used."""
    return any(all(map(pauses, row)) for row in rune.restrictions)


def pauses(alternative: Alternative) -> bool:
    """Whether this lets time pass between two calls that is worth the name."""
    timed = alternative.field in {"rate", "per"}
    return timed and (interval_ns(alternative) or 0) >= _PAUSE_NS


def audit(rune: Rune, purpose: Purpose, most_msat: int | None = None) -> tuple[Finding, ...]:
    """Everything that this rune allows beyond its purpose.

    :param most_msat: the most that a payment of the agent's may cost, where that is known.
    """
    named = methods(rune)
    if named is None:
        return (Finding("it does not name the methods it allows: treat it as full control", True),)
    found = [
        Finding(f"it allows {method}, {_what(method)}", method in _DRAINS)
        for method in sorted(named - ALLOWED[purpose])
    ]
    found += [
        Finding(f"it allows {check.method} with {_shown(check)}: {check.why}", _uncapped(check))
        for check in CHECKS[purpose]
        if check.params and not check.must_pass and check.method in named and permits(rune, check)
    ]
    if purpose is Purpose.PAY and "sendamount" in named and most_msat is not None:
        more = Check("sendamount", {"invstring": _AN_INVOICE, "amount_msat": most_msat + 1})
        if permits(rune, more):
            text = f"it allows payments above {most_msat} msat (settlement.caps.payment_msat)"
            found.append(Finding(text, True))
    if purpose is Purpose.PAY and not slowed(rune):
        text = "it has no `per` of a second or more: small payments can follow each other for ever"
        found.append(Finding(text, True))
    return tuple(found)


def unusable(rune: Rune, purpose: Purpose) -> tuple[str, ...]:
    """What the agent needs and this rune refuses."""
    wanted = [check for check in CHECKS[purpose] if check.must_pass]
    return tuple(check.method for check in wanted if not permits(rune, check))


def _what(method: str) -> str:
    if method in _DRAINS:
        return "which can move money away"
    return "which tells secrets or balances" if method in _TELLS else "which it does not need"


def _uncapped(check: Check) -> bool:
    return check.method in _DRAINS


def _shown(check: Check) -> str:
    if not isinstance(check.params, Mapping):
        return "parameters by position"
    odd = {k: v for k, v in check.params.items() if k in {"expiry", "amount_msat"}}
    return ", ".join(f"{name}={value}" for name, value in odd.items()) or "no amount"


def restrictions(
    purpose: Purpose, *, most_msat: int = 0, every: str = "", node_id: str = ""
) -> list[list[str]]:
    """What to give to createrune.

    :param most_msat: of one payment, fees included (`Purpose.PAY`).
    :param every: the least time between two payments, as `per` has it: "1min".
    :param node_id: bind the rune to this id; empty: whoever holds it may use it.
    """
    rows = [[f"method={method}" for method in sorted(ALLOWED[purpose])]]
    if purpose is Purpose.INVOICE:
        # Bounded on both sides: a missing bound lets -1 pass, which aborts the node.
        rows += [
            ["method/invoice", "pnameexpiry>0"],
            ["method/invoice", f"pnameexpiry<{MOST_EXPIRY_S + 1}"],
            ["method/invoice", f"pnamelabel^{LABEL_PREFIX}"],
        ]
    if purpose is Purpose.PAY:
        rows += [["pnameamount_msat>0"], [f"pnameamount_msat<{most_msat + 1}"], [f"per={every}"]]
    return rows + ([[f"id={node_id}"]] if node_id else [])
