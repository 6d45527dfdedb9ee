"""What the host and its site are and do: one file per source or wire, readings out.

`reading.py` holds the values, `probe.py` the protocol and its four failures, `host.py` the only
access to files, `catalog.py` the list of sources. Nothing here knows of `agent` or `attest`.
"""
