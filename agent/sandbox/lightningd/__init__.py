"""A double of Core Lightning: its JSON-RPC on a unix socket, its answers, its ways to fail.

It agrees with recorded replies of Core Lightning v26.06.6 (tests/golden/test_lightningd_double.py)
and moves numbers instead of money. `hearth demo` and the tests run it; several nodes live in one
`Network`, so that one pays another and both sides of a settlement are there.
"""
