"""HTTP messages as bytes: read from a connection, changed in their headers, cut."""

import asyncio
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """A request or an answer as it travels: its head with the empty line after it, and its body in whatever coding."""

    head: bytes
    body: bytes

    @classmethod
    async def read(cls, reader: asyncio.StreamReader) -> "Message":
        head = await reader.readuntil(b"\r\n\r\n")
        if (length := _header(head, "Content-Length")) is not None:
            return cls(head, await reader.readexactly(int(length)))
        body = b""
        if _header(head, "Transfer-Encoding") is not None:
            size = -1
            while size != 0:
                line = await reader.readuntil(b"\r\n")
                size = int(line.partition(b";")[0], 16)
                body += line + await reader.readexactly(size + 2)
        return cls(head, body)

    @property
    def start(self) -> str:
        """Its first line."""
        return self.head.partition(b"\r\n")[0].decode("latin-1")

    @property
    def raw(self) -> bytes:
        return self.head + self.body

    @property
    def says_where_it_ends(self) -> bool:
        """Whether a client need not wait for the connection's end to know that it has everything."""
        framed = ("Content-Length", "Transfer-Encoding")
        return " 204 " in self.start or any(_header(self.head, name) is not None for name in framed)

    def with_header(self, name: str, value: str | None) -> "Message":
        """The same, with another value of a header, or without it."""
        head = re.sub(rb"(?i)\r\n" + name.encode() + rb":[^\r]*", b"", self.head)
        if value is not None:
            head = head[:-2] + f"{name}: {value}\r\n\r\n".encode("latin-1")
        return Message(head, self.body)


def _header(head: bytes, name: str) -> str | None:
    found = re.search(rb"(?i)\r\n" + name.encode() + rb":[ \t]*([^\r]*)", head)
    return found[1].decode("latin-1").strip() if found else None


def part(raw: bytes, share: float) -> bytes:
    """The first ``share`` of the bytes."""
    return raw[: int(len(raw) * share)]
