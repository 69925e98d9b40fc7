from collections.abc import Sequence


def printable(text: object) -> str:
    r"""Return ``str(text)`` with what is no visible character written as an escape, as in \x1b.

    Names come from files of anybody, and a terminal obeys control characters; those that reverse
    the direction of text hide what a name is. Line ends and tabs stay, and so do letters of every
    script.
    """
    return ''.join(
        c if c.isprintable() or c in '\n\t' else c.encode('unicode_escape').decode()
        for c in str(text)
    )


def some(names: Sequence[str], limit: int = 4) -> str:
    """Join the first names, and say how many more there are."""
    rest = len(names) - limit
    return ', '.join(names[:limit]) + (f' and {rest} more' if rest > 0 else '')
