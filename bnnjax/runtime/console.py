"""What a process says on stderr."""


def complain(sentence: str) -> None:
    """Prints a sentence on stderr."""
    from rich.console import Console

    Console(stderr=True).print(sentence, soft_wrap=True, markup=False, highlight=False)
