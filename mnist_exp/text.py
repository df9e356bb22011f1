"""Text that came from outside, made fit to be shown or kept: on one line, of a bounded length, saying what was cut."""


def visible(text: str) -> str:
    r"""``text`` on one line, with what a terminal would obey instead of showing it written out: ``\n``, ``\x1b``."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def shortened(text: str, limit: int, note: str = "") -> str:
    """At most ``limit`` characters: where ``text`` has more, its beginning and how many it had, then ``note``."""
    if len(text) <= limit:
        return text
    tail = f"… ({len(text):,} characters{note})"
    return text[: max(limit - len(tail), 0)] + tail


def abridged(text: str, limit: int) -> str:
    """At most ``limit`` characters: where ``text`` has more, its beginning, how many it had, and its end."""
    if len(text) <= limit:
        return text
    middle = f" … ({len(text):,} characters) … "
    end = (limit - len(middle)) // 2
    return text[: limit - len(middle) - end] + middle + text[-end:]


def received(value: object) -> str:
    """A value as an error quotes it: enough of it to be known by."""
    return shortened(visible(repr(value)), 200)
