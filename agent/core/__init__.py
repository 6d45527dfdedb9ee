"""The rules, without any I/O: metering, ledger, offers, receipts, amounts, the session."""
