"""x"""


def status() -> None: ...
