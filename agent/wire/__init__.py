"""Between hearth.v1 messages and the agent's own types: the only importer of the messages.

`statements` encodes what this node signs, `requests` decodes what exchanges sign, `stream` is the
session around both, `hardware` the inventory, `enrol` and `readable` what their names say. Every
statement is encoded exactly once: its bytes are what is signed, hashed, stored and sent.
"""
