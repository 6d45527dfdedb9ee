"""What may be configured: frozen types. `agent.config_file` reads them from TOML.

Durations and amounts are integers with the unit in the key. What keys must not say together is in
`agent.config_rules`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from agent.core.bounds import MOST_MSAT

DEFAULT_PATH = Path("/etc/hearth/hearth.toml")

Seconds = Annotated[int, Meta(ge=1, le=86_400)]
Port = Annotated[int, Meta(ge=1, le=65_535)]
Count = Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]
Msat = Annotated[int, Meta(ge=0, le=MOST_MSAT)]
Ppm = Annotated[int, Meta(ge=0, le=1_000_000)]
Permille = Annotated[int, Meta(ge=0, le=1000)]
Text = Annotated[str, Meta(min_length=1)]
File = Annotated[str, Meta(pattern="^(|/.+)$")]
Absolute = Annotated[str, Meta(pattern="^/.")]  # commands and daemon start in different folders
Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """No unknown keys, no change after loading."""


class Tpm(Strict, frozen=True):
    """Where the root of trust is."""

    # "auto": /dev/tpmrm0 where it is, else a key file; "none": a key file; else a TCTI string.
    tcti: Text = "auto"


class Site(Strict, frozen=True):
    """Where the host stands, as coarse as the operator wants to say."""

    id: Name = "site"
    country_code: Annotated[str, Meta(pattern=r"^([A-Z]{2})?$")] = ""
    subdivision_code: Annotated[str, Meta(pattern=r"^([A-Z]{2}-[A-Z0-9]{1,3})?$")] = ""
    heat_sink: Annotated[
        str,
        Meta(
            pattern="^(none|space-heating|domestic-hot-water|district-heating|pool|greenhouse|industrial)$"
        ),
    ] = "none"
    # This host's signed share of the site's energy and heat meters.
    share_ppm: Annotated[int, Meta(ge=1, le=1_000_000)] = 1_000_000


class Reserve(Strict, frozen=True):
    """What is never sold: the operator's own and the host's needs."""

    vcpu: Count = 0
    memory_mb: Count = 512
    pgpu: Count = 0


class Price(Strict, frozen=True):
    """`msat` / `per` millisatoshi per unit."""

    unit: Annotated[str, Meta(pattern="^(delivered-lease-second|delivered-unit-second|joule)$")]
    msat: Msat
    per: Annotated[int, Meta(ge=1, le=(1 << 63) - 1)] = 1
    # Of what this agent sells; with the unit delivered-unit-second only.
    resource_class: Annotated[str, Meta(pattern="^(|VCPU|MEMORY_MB|PGPU|VGPU)$")] = ""


class RebateTier(Strict, frozen=True):
    """Below this availability of a window that share of its amount is given back."""

    below_ppm: Annotated[int, Meta(ge=1, le=1_000_000)]
    permille: Annotated[int, Meta(ge=1, le=1000)]


class Offer(Strict, frozen=True):
    """How capacity is offered."""

    lifetime_seconds: Annotated[int, Meta(ge=10, le=900)] = 600
    available_days: Annotated[int, Meta(ge=1, le=365)] = 30
    availability_ppm: Ppm = 990_000
    window_seconds: Annotated[int, Meta(ge=1, le=366 * 86_400)] = 30 * 86_400
    rebates: tuple[RebateTier, ...] = (
        RebateTier(below_ppm=990_000, permille=100),
        RebateTier(below_ppm=950_000, permille=300),
        RebateTier(below_ppm=900_000, permille=1000),
    )
    receipt_seconds: Annotated[int, Meta(ge=1, le=3600)] = 900
    mode: Annotated[str, Meta(pattern="^(postpaid|prepaid)$")] = "postpaid"
    # Delivered and not paid: past it the agent warns, after payment_seconds it renews nothing,
    # after twice that, or at once at twice the limit, it ends the lease.
    credit_limit_msat: Msat = 10_000_000
    payment_seconds: Seconds = 7200
    least_invoice_msat: Msat = 1_000_000
    advance_msat: Msat = 900_000  # prepaid: the balance that is invoiced ahead
    prices: tuple[Price, ...] = (
        Price(unit="delivered-unit-second", resource_class="VCPU", msat=15),
        Price(unit="delivered-unit-second", resource_class="MEMORY_MB", msat=1, per=250),
    )


class Caps(Strict, frozen=True):
    """Hard limits of what the agent pays out, routing fees included."""

    payment_msat: Msat = 1_000_000
    day_msat: Msat = 5_000_000  # to all exchanges together, in any 24 hours
    exchange_day_msat: Msat = 2_000_000  # to one of them
    fee_permille: Permille = 5
    fee_least_msat: Msat = 5_000


class Currency(Strict, frozen=True):
    """What a bitcoin is worth in a national currency, for statements and exports."""

    code: Annotated[str, Meta(pattern="^[A-Z]{3}$")]
    minor_per_bitcoin: Annotated[int, Meta(ge=1, le=(1 << 53) - 1)]  # cents, for EUR
    source: Annotated[str, Meta(min_length=1, max_length=200)]  # who says so, and when


class Lease(Strict, frozen=True):
    """How leases are put on the host."""

    # "auto": systemd slices where systemd is PID 1, else a directory of the unified hierarchy.
    cgroup_root: Annotated[str, Meta(pattern="^(auto|/.+)$")] = "auto"


class Log(Strict, frozen=True):
    """The transparency log."""

    checkpoint_seconds: Seconds = 60


class Energy(Strict, frozen=True):
    """How the host's energy is divided among leases."""

    # Power of the idle host. Known: idle energy by reserved share, the rest by CPU time. Not known:
    # all of it by reserved share.
    idle_milliwatts: Annotated[int, Meta(ge=0, le=1_000_000_000)] | None = None


class ModbusMeter(Strict, frozen=True):
    """One meter on Modbus TCP; `map` names a row of the register maps."""

    name: Name
    host: Text
    map: Text
    port: Port = 502
    unit: Annotated[int, Meta(ge=0, le=255)] = 1
    # Well below the time after which a silent meter is taken to be gone (agent/core/energy.py).
    interval_seconds: Annotated[int, Meta(ge=1, le=300)] = 5
    source: Annotated[str, Meta(pattern="^(billing-meter|pdu|model|declared)$")] = "billing-meter"


class MbusMeter(Strict, frozen=True):
    """One meter on an M-Bus TCP gateway."""

    name: Name
    host: Text
    port: Port = 10001
    address: Annotated[int, Meta(ge=0, le=250)] = 1
    interval_seconds: Seconds = 60
    source: Annotated[str, Meta(pattern="^(billing-meter|pdu|model|declared)$")] = "billing-meter"


class Sensors(Strict, frozen=True):
    """The site's meters. A driver is loaded only when it is named here."""

    modbus: tuple[ModbusMeter, ...] = ()
    mbus: tuple[MbusMeter, ...] = ()


class Settlement(Strict, frozen=True):
    """How the operator is paid; `hearth settlement setup` helps. Runes and keys are in files.

    With the rail "none" all of it is only prepared; with another one, what it has no use for is
    refused.
    """

    rail: Annotated[str, Meta(pattern="^(none|cln|cln-commando|statement)$")] = "none"
    socket: File = ""  # cln: lightning-rpc, full control of the node
    node: str = ""  # cln-commando: <node id>@<host>:<port>
    invoice_rune_file: File = ""
    pay_rune_file: File = ""  # for rebates; empty: nothing is ever paid
    payments_rune_file: File = ""  # listsendpays: without it nothing is ever paid
    key_file: File = ""  # 64 hex digits, for runes that are bound to our id
    directory: File = ""  # statement: the folder in which statements are put
    network: Annotated[str, Meta(pattern="^(bitcoin|testnet|signet|regtest)$")] = "bitcoin"
    least_msat: Msat = 1_000_000  # an invoice is made from here on,
    age_seconds: Seconds = 86_400  # or when something has been due for so long
    invoice_life_seconds: Seconds = 86_400
    net_rebates_after_seconds: Seconds = 86_400  # a rebate nobody asks for is netted after that
    caps: Caps = Caps()
    currency: Currency | None = None
    # TOML with the keys of [settlement.currency], read at each payment: a timer may keep it new.
    currency_file: File = ""


class Logging(Strict, frozen=True):
    """What the daemon prints."""

    level: Annotated[str, Meta(pattern="^(debug|info|warning|error)$")] = "info"
    json: bool = True


class Config(Strict, frozen=True):
    """All of it. Every key has a default: an empty file is a valid configuration."""

    state_dir: Absolute = "/var/lib/hearth"
    admin_socket: Absolute = "/run/hearth/admin.sock"
    tpm: Tpm = Tpm()
    site: Site = Site()
    reserve: Reserve = Reserve()
    offer: Offer = Offer()
    lease: Lease = Lease()
    log: Log = Log()
    energy: Energy = Energy()
    sensors: Sensors = Sensors()
    settlement: Settlement = Settlement()
    logging: Logging = Logging()
