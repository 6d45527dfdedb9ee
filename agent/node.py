"""This host as a signer: root of trust, journal and log, inventory, this start's key."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import structlog

from agent.clock import Clock, SystemClock
from agent.config import Config
from agent.config_rules import overreserved, unpriced
from agent.core.lease import Units
from agent.core.ledger import sellable
from agent.errors import ConfigError, DaemonError, JournalError
from agent.journal.scribe import Scribe
from agent.journal.space import Reserve
from agent.journal.store import Journal, Transaction, View
from agent.root import boot_log, find_tpm, open_root
from agent.version import code_sha256, version
from agent.wire.hardware import encode_inventory
from attest.checkpoint import origin
from attest.evidence import evidence_data, key_binding_data
from attest.formats import (
    Evidence,
    EvidencePayload,
    KeyBinding,
    LogStart,
    PcrBank,
    encode_evidence,
    encode_evidence_payload,
    encode_key_binding,
    encode_log_start,
)
from attest.keys import SoftwareKey
from attest.root import REQUIRED_PCRS, SHA256_BANK, Quote, Root
from probes.host import Host
from probes.inventory import Inventory, resources, take

logger = structlog.get_logger()

QUOTE_DEADLINE_S = 30.0
# A disk's troubles, not a configuration's: the unit starts again (systemd/hearth-agent.service).
PASSING = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
FIRST_INSTALL = 1  # LogStartCause


@dataclass(slots=True)
class Lock:
    """The state directory, held by one process."""

    directory: Path
    _descriptor: int = -1

    def take(self) -> None:
        """Make the directory and hold it.

        :raises DaemonError: when another process does.
        :raises ConfigError: when it is no place for this user.
        :raises JournalError: when the disk does not take it now.
        """
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            owner = self.directory.stat().st_uid
            if os.geteuid() == 0 != owner:  # who may have planted something for root there
                raise ConfigError(
                    f"state_dir: {self.directory}: belongs to user {owner}, not to root;"
                    " run as that user, as the service does (systemctl start hearth-agent)"
                )
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptor = os.open(self.directory / "lock", flags, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.give_back()
            raise DaemonError(
                f"{self.directory}: in use by another hearth process; stop it first"
            ) from None
        except OSError as error:
            if error.errno in PASSING:
                raise JournalError(
                    f"{self.directory}: {error.strerror}; look at its disk"
                ) from error
            raise ConfigError(
                f"state_dir: {self.directory}: {error.strerror};"
                " set it to a folder that this user may write"
            ) from error

    def give_back(self) -> None:
        """Let others have it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def held(directory: Path) -> bool:
    """Whether a process holds this state directory; a killed one left no lock behind."""
    lock = Lock(directory)
    try:
        lock.take()
    except DaemonError:
        return True
    except ConfigError as error:
        if not isinstance(error.__cause__, PermissionError):
            raise
        return True  # it is another user's, whose daemon may be asked
    lock.give_back()
    return False


@dataclass(slots=True)
class Node:
    """Everything that signs for this host, opened once by whoever holds the lock."""

    config: Config
    host: Host
    clock: Clock
    root: Root
    journal: Journal
    scribe: Scribe
    lock: Lock
    log_id: str
    inventory: Inventory
    inventory_digest: bytes
    inventory_generation: int
    capacity: dict[str, int]  # units that the inventory has
    trouble: str = ""  # why the last checkpoint is not signed

    @property
    def node_id(self) -> str:
        """Lower-case hex SHA-256 of the AK name."""
        return self.root.identity.node_id

    @property
    def reserved(self) -> dict[str, int]:
        """Units that are never sold."""
        return never_sold(self.config, self.capacity)

    @property
    def total(self) -> dict[str, int]:
        """Units that are sold at all."""
        return sellable(self.capacity, self.reserved)

    @property
    def origin(self) -> str:
        """Origin of this log's notes."""
        return origin(self.node_id, self.log_id)

    @property
    def state(self) -> Path:
        """The state directory."""
        return self.lock.directory

    @classmethod
    async def open(cls, config: Config, host: Host) -> Node:
        """Open everything, start the log if there is none, introduce this start's key.

        :raises DaemonError, JournalError, TpmError: naming the remedy.
        """
        lock = Lock(Path(config.state_dir))
        lock.take()
        # The TPM takes its time; the disk and sysfs need not wait for it.
        opening = asyncio.create_task(asyncio.to_thread(open_root, config, host, lock.directory))
        try:
            reserve = Reserve(lock.directory / "reserve")
            journal = Journal(lock.directory / "journal.sqlite", reserve)
        except BaseException:
            opening.cancel()
            lock.give_back()
            raise
        root: Root | None = None
        try:
            inventory = _take(config, host)
            root = await opening
            return await _introduce(config, host, root, journal, lock, inventory)
        except BaseException:
            if root is not None:
                root.close()
            journal.close()
            lock.give_back()
            raise

    async def evidence(
        self,
        exchange_id: str,
        nonce: bytes,
        tls_spki: bytes,
        pcrs: tuple[int, ...] = REQUIRED_PCRS,
    ) -> bytes:
        """Fresh evidence for one exchange's nonce.

        :raises TpmError: when the TPM does not quote.
        """

        def head(view: View) -> tuple[int, bytes]:
            size = view.size()
            return size, view.root(size)

        size, log_root = await self.journal.read(head)
        now = self.clock.now()
        payload = encode_evidence_payload(
            EvidencePayload(
                exchange_id=exchange_id,
                inventory_digest=self.inventory_digest,
                inventory_generation=self.inventory_generation,
                tls_spki_sha256=hashlib.sha256(tls_spki).digest(),
                envelope_spki=self.scribe.signer.spki,
                boot_id=now.boot_id,
                incarnation=self.root.identity.incarnation,
                log_id=self.log_id,
                log_size=size,
                log_root=log_root,
                agent_version=version(),
                agent_code_sha256=code_sha256(),
                create_time_ns=now.wall_ns,
            )
        )
        quote = await _quote(self.root, evidence_data(exchange_id, nonce, payload), pcrs)
        if not quote.attest:
            return encode_evidence(Evidence(payload=payload, software_signature=quote.signature))
        log = await asyncio.to_thread(boot_log, find_tpm(self.config, self.host), self.host)
        return encode_evidence(
            Evidence(
                payload=payload,
                quote=quote.attest,
                quote_signature=quote.signature,
                pcr_banks=(PcrBank(SHA256_BANK, quote.pcrs),),
                event_log=log,
            )
        )

    async def look_again(self) -> bool:
        """Take the inventory anew, after hardware came or went; whether it is another one.

        A new generation is logged before anything is offered or quoted from it.
        """
        found = await asyncio.to_thread(take, self.host)
        content = encode_inventory(found)
        digest = hashlib.sha256(content).digest()
        if digest == self.inventory_digest:
            return False

        def write(change: Transaction) -> int:
            exchanges = [int(row[0]) for row in change.all("SELECT id FROM exchanges")]
            return note_inventory(change, self.scribe, content, exchanges)

        self.inventory_generation = await self.journal.write(write)
        self.inventory, self.inventory_digest = found, digest
        self.capacity = dict(resources(found))
        logger.info("inventory_changed", generation=self.inventory_generation)
        return True

    def close(self) -> None:
        """Give everything back."""
        self.journal.close()
        self.root.close()
        self.lock.give_back()


async def _quote(root: Root, qualifying: bytes, pcrs: tuple[int, ...] = REQUIRED_PCRS) -> Quote:
    async with asyncio.timeout(QUOTE_DEADLINE_S):
        return await asyncio.wrap_future(root.quote(qualifying, pcrs))


def never_sold(config: Config, capacity: Units) -> dict[str, int]:
    """The host's reserve by resource class, and all units of a class that has no price."""
    reserve = {
        "VCPU": config.reserve.vcpu,
        "MEMORY_MB": config.reserve.memory_mb,
        "PGPU": config.reserve.pgpu,
        **{name: capacity[name] for name in unpriced(config.offer, capacity)},
    }
    return {name: count for name, count in sorted(reserve.items()) if count}


def _take(config: Config, host: Host) -> Inventory:
    """:raises ConfigError: for a reserve of more than there is."""
    inventory = take(host)
    for key, wrong in overreserved(config, dict(resources(inventory))):
        raise ConfigError(f"{key}: {wrong}")
    return inventory


async def _introduce(
    config: Config, host: Host, root: Root, journal: Journal, lock: Lock, inventory: Inventory
) -> Node:
    clock = SystemClock(host)
    identity = root.identity
    key = SoftwareKey.generate()
    scribe = Scribe(key)
    started = await journal.read(lambda view: (view.meta("node_id"), view.meta("log_start")))
    if started[0] is not None and started[0].decode() != identity.node_id:
        raise JournalError(
            f"{journal.path}: belongs to node {started[0].decode()[:16]}, this root of trust is"
            f" {identity.node_id[:16]}; move the state directory away to start a new node"
        )
    now = clock.now()
    start = started[1] or encode_log_start(
        LogStart(
            node_id=identity.node_id,
            random=os.urandom(32),
            incarnation=identity.incarnation,
            cause=FIRST_INSTALL,
            last_known_note=b"",
            start_time_ns=now.wall_ns,
        )
    )
    log_id = hashlib.sha256(start).hexdigest()
    data = key_binding_data(log_id, now.boot_id, key.spki, identity.incarnation)
    quote = await _quote(root, data)
    binding = encode_key_binding(
        KeyBinding(
            boot_id=now.boot_id,
            envelope_spki=key.spki,
            quote=quote.attest,
            quote_signature=quote.signature,
            incarnation=identity.incarnation,
            log_id=log_id,
        )
    )
    content = encode_inventory(inventory)
    digest = hashlib.sha256(content).digest()

    def write(change: Transaction) -> int:
        exchanges = [int(row[0]) for row in change.all("SELECT id FROM exchanges")]
        if change.size() == 0:
            change.set_meta("node_id", identity.node_id.encode())
            change.set_meta("log_start", start)
            change.set_meta("ak_public", identity.ak_public)
            change.set_meta("software_spki", b"" if identity.ak_public else identity.spki)
            scribe.append(change, "LogStart", start, exchanges)
        index = scribe.append(change, "KeyBinding", binding, exchanges)
        change.execute("INSERT INTO bindings VALUES (?, ?, ?)", key.key_id, index, key.spki)
        return note_inventory(change, scribe, content, exchanges)

    generation = await journal.write(write)
    logger.info(
        "node_opened",
        node_id=identity.node_id,
        log_id=log_id[:16],
        root=identity.description,
        inventory=digest.hex()[:16],
        generation=generation,
    )
    for name in unpriced(config.offer, dict(resources(inventory))):
        logger.warning("not_for_sale", resource_class=name, error="no price in offer.prices")
    return Node(
        config,
        host,
        clock,
        root,
        journal,
        scribe,
        lock,
        log_id,
        inventory,
        digest,
        generation,
        dict(resources(inventory)),
    )


def note_inventory(
    change: Transaction, scribe: Scribe, content: bytes, exchanges: list[int]
) -> int:
    """Log the inventory if it is another than the last; returns its generation."""
    digest = hashlib.sha256(content).digest()
    row = change.one("SELECT generation, digest FROM inventories ORDER BY generation DESC LIMIT 1")
    if row is not None and bytes(row[1]) == digest:
        return int(row[0])
    generation = 1 if row is None else int(row[0]) + 1
    index = scribe.append(change, "Inventory", content, exchanges)
    change.execute("INSERT INTO inventories VALUES (?, ?, ?)", generation, digest, index)
    return generation
