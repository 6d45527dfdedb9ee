"""A TPM as root of trust: ESAPI behind an injected TCTI, one owner thread, futures outside.

ESAPI contexts are not thread-safe, and a command to a hung TPM never returns. So one thread owns
the connection, and nobody else ever waits for that thread without a deadline.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, Full, Queue
from typing import Any, Generic, TypeVar

from tpm2_pytss.TSS2_Exception import TSS2_Exception

from attest.errors import AttestError, TpmError
from attest.root import REQUIRED_PCRS, Endorsement, Quote, RootIdentity
from attest.tpmlink import OUT_OF_ROOM, TAKEN_AWAY, Link

_OPEN_SECONDS = 30.0
_CLOSE_SECONDS = 3.0
_WAITING_MOST = 64
_ATTEMPTS = 3  # on the old link, on a new one, on one with room made

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Order(Generic[T]):
    act: Callable[[Link], T]
    future: Future[T]


class Tpm:
    """`attest.root.Root` on a TPM 2.0.

    A connection that fails is made anew, and the order tried again: the TPM may have been reset, or
    a client without a resource manager may have flushed our key. A TPM that then turns out to be
    another one, or cleared, is refused, because `identity` is fixed for the life of this object.
    """

    def __init__(self, tcti: str) -> None:
        self._tcti = tcti
        self._link: Link | None = None
        self._identity: RootIdentity | None = None
        self._orders: Queue[_Order[Any] | None] = Queue(_WAITING_MOST)
        self._current: Future[Any] | None = None
        self._open = True
        self._lock = threading.Lock()  # orders only while open
        self._thread = threading.Thread(target=self._serve, name="tpm", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, tcti: str, *, seconds: float = _OPEN_SECONDS) -> Tpm:
        """Connect to the TPM behind this TCTI (as tpm2-tools' --tcti) and learn who it is.

        :raises TpmError: there is none, it refuses, or does not answer within `seconds`.
        """
        os.environ.setdefault("TSS2_LOG", "all+none")  # or the library writes to our stderr
        tpm = cls(tcti)
        try:
            tpm._identity = tpm._order(lambda link: link.identity).result(seconds)
        except TimeoutError:
            tpm._end(0.0)
            raise TpmError(f"TPM at {tcti}: no answer within {seconds:g} s") from None
        except TpmError:
            tpm.close()
            raise
        return tpm

    @property
    def identity(self) -> RootIdentity:
        """Fixed for the life of this object."""
        if self._identity is None:
            raise TpmError(f"TPM at {self._tcti}: not open")
        return self._identity

    def quote(self, qualifying: bytes, pcrs: tuple[int, ...] = REQUIRED_PCRS) -> Future[Quote]:
        """TPM2_Quote over these PCRs of the SHA-256 bank; at most 64 bytes of qualifying data."""
        return self._order(lambda link: link.quote(qualifying, pcrs))

    def sign_note(self, text: bytes) -> Future[bytes]:
        """TPM2_Hash and TPM2_Sign by the AK: ECDSA P-256 SHA-256, DER. At most 1024 bytes of text.

        A text that begins with TPM_GENERATED_VALUE is refused by the TPM.
        """
        return self._order(lambda link: link.sign_note(text))

    def endorsement(self) -> Future[Endorsement]:
        """Derive the EK and read its certificates from NV; an RSA one takes a chip seconds."""
        return self._order(lambda link: link.endorsement())

    def activate(self, credential_blob: bytes, encrypted_secret: bytes) -> Future[bytes]:
        """TPM2_ActivateCredential with the EK; takes the full TPM2B structures."""
        return self._order(lambda link: link.activate(credential_blob, encrypted_secret))

    def close(self) -> None:
        """Flush and disconnect; after three seconds leave a hung TPM to its thread."""
        self._end(_CLOSE_SECONDS)

    def _order(self, act: Callable[[Link], T]) -> Future[T]:
        future: Future[T] = Future()
        with self._lock:
            if not self._open:
                self._fail(future, "closed")
                return future
            try:
                self._orders.put_nowait(_Order(act, future))
            except Full:
                self._fail(future, f"{_WAITING_MOST} orders wait already")
        return future

    def _end(self, seconds: float) -> None:
        self._refuse("closed")
        with suppress(Full):  # a second close: the thread has its word already
            self._orders.put_nowait(None)
        self._thread.join(seconds)
        if self._thread.is_alive() and (current := self._current) is not None:
            self._fail(current, "closed while it did not answer")

    def _refuse(self, why: str) -> None:
        """Take no more orders, and fail those that wait."""
        with self._lock:
            self._open = False
        with suppress(Empty):
            while True:
                waiting = self._orders.get_nowait()
                if waiting is not None:
                    self._fail(waiting.future, why)

    def _fail(self, future: Future[Any], why: str, cause: BaseException | None = None) -> None:
        error = TpmError(f"TPM at {self._tcti}: {why}")
        error.__cause__ = cause
        with suppress(InvalidStateError):  # cancelled, or given up by close()
            future.set_exception(error)

    # From here on: the owner thread.

    def _serve(self) -> None:
        try:
            while (order := self._orders.get()) is not None:
                self._carry_out(order)
        finally:
            # Also after a fault of ours, so that nobody waits for a thread that is gone.
            self._refuse("its thread has ended")
            if self._current is not None:
                self._fail(self._current, "its thread has ended")
            if self._link is not None:
                self._link.close()

    def _carry_out(self, order: _Order[Any]) -> None:
        self._current = order.future
        if not order.future.set_running_or_notify_cancel():
            return
        try:
            done = self._attempt(order.act)
        except TSS2_Exception as error:
            self._fail(order.future, f"{error} ({error.rc:#x})", error)
        except AttestError as error:
            self._fail(order.future, str(error), error.__cause__)
        else:
            with suppress(InvalidStateError):  # given up by close()
                order.future.set_result(done)
        self._current = None

    def _attempt(self, act: Callable[[Link], T]) -> T:
        """Act on the link there is; if that fails, on a new one, with room made where it lacks."""
        make_room = False
        for left in reversed(range(_ATTEMPTS)):
            stale = self._link is not None
            try:
                return act(self._connected(make_room))
            except TSS2_Exception as error:
                self._disconnect()
                make_room = make_room or error.rc in OUT_OF_ROOM
                passing = error.rc in OUT_OF_ROOM or error.rc in TAKEN_AWAY
                if not left or not (stale or passing):
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _connected(self, make_room: bool) -> Link:
        if self._link is None:
            if not self._tcti:
                raise TpmError("no TCTI given")
            link = Link(self._tcti, make_room=make_room)
            if self._identity is not None and not _same(self._identity, link.identity):
                link.close()
                raise TpmError("another TPM answers, or this one was cleared")
            self._link = link
        return self._link

    def _disconnect(self) -> None:
        """Drop a connection whose state is unknown."""
        if self._link is not None:
            self._link.close()
            self._link = None


def _same(one: RootIdentity, other: RootIdentity) -> bool:
    return (one.ak_public, one.incarnation) == (other.ak_public, other.incarnation)
