"""x"""


def demo() -> None: ...
