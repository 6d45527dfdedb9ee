"""Proof: what a host signs, and what an exchange checks without trusting it.

`tpm.py` speaks to the TPM; every other module is pure, and `verify.py` is all that an exchange
needs to run. Nothing here knows of `agent` or `probes`.
"""
