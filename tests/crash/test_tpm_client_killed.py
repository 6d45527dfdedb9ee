"""kill -9 of a TPM's client where no resource manager cleans up after it."""

from __future__ import annotations

import os
import subprocess
import sys

from agent.sandbox.swtpm import Swtpm
from attest import tcg
from attest.tpm import Tpm

# Takes whatever the TPM still has to give, as an agent killed over and over would, and waits.
CLIENT = """
import sys, time
from tpm2_pytss import ESYS_TR, TPM2_ALG, TPM2_SE, TSS2_Exception
from attest.tpm import Tpm
tpm = Tpm.open(sys.argv[1])
tpm.endorsement().result()
def take(link):
    esapi, taken = link._esapi, 0
    for act in (
        lambda: esapi.context_load(link._ek),
        lambda: esapi.start_auth_session(
            ESYS_TR.NONE, ESYS_TR.NONE, TPM2_SE.POLICY, None, TPM2_ALG.SHA256
        ),
        lambda: esapi.start_auth_session(
            ESYS_TR.NONE, ESYS_TR.NONE, TPM2_SE.HMAC, None, TPM2_ALG.SHA256
        ),
    ):
        try:
            while True:
                act()
                taken += 1
        except TSS2_Exception:
            pass
    return taken
print(tpm._order(take).result(), flush=True)
time.sleep(60)
"""


def test_twenty_clients_killed_in_a_row_leave_a_tpm_that_works(fresh_swtpm: Swtpm) -> None:
    first = Tpm.open(fresh_swtpm.tcti)
    identity = first.identity
    first.close()
    for _ in range(20):
        client = subprocess.Popen(
            [sys.executable, "-c", CLIENT, fresh_swtpm.tcti],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert client.stdout is not None
        assert int(client.stdout.readline()) > 0, "nothing was left to take: the test tests nothing"
        client.kill()
        client.wait()
        client.stdout.close()
        tpm = Tpm.open(fresh_swtpm.tcti)
        assert tpm.identity == identity
        quote = tpm.quote(b"after").result(10)
        tcg.verify_attest(tcg.parse_public(tpm.identity.ak_public), quote.attest, quote.signature)
        tpm.close()
