"""A reference exchange: what an exchange developer reads, and what the demo and the tests run.

It stands for a stranger. Of ours it imports `attest` (what a verifier needs), the generated
`hearth.v1` messages and `agent.core`'s published functions (`amount`, `availability`, `rebate`,
`invoice`, `bolt11`), and nothing else.

====================  =======================================================================
`__main__.py`         the process: two servers, one control channel
`options.py`          its command line
`ca.py`               its keys: a certificate authority, a statement key, join tokens
`identity.py`         who it is and what it states
`store.py`            its memory: one SQLite file, one thread that writes it
`enrolment.py`        EnrollmentService: from a join token to a node with certificates
`trust.py`            which TPMs it believes, and what it appraises
`service.py`          ExchangeService: Session, RenewCertificate, ListEnvelopes
`session.py`          one stream with one node, from Hello to GoAway
`inbox.py`            what a node delivers, judged and stored exactly once
`leaves.py`           a node's log: places of leaves, keys bound in it
`judge.py`            one receipt, bytes in, verdict out
`offers.py`           what nodes offer
`market.py`           leases
`witness.py`          checkpoints: what makes a receipt final
`money.py`            what a node says about money, by message
`billing.py`          invoices, judged and paid
`payouts.py`          rebates and refunds, judged and asked for
`disputes.py`         acknowledgements, and what they contest
`purse.py`            its own Lightning node
`cashier.py`          pays and asks, one thing after another
`challenges.py`       fresh evidence, asked for at random
`cursors.py`          where node and exchange stand in each other's deliveries
`stats.py`            what it knows, in numbers
`control.py`          commands on standard input
`faults.py`           misbehaviour on command, for tests
====================  =======================================================================
"""
