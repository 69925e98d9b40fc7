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
