"""Requests of plain HTTP to a proxy, one by one."""

import http.client
from urllib.parse import urlsplit

from faults.proxy import Proxy


def connection(proxy: Proxy, timeout_s: float = 60) -> http.client.HTTPConnection:
    place = urlsplit(proxy.address)
    return http.client.HTTPConnection(place.hostname or "", place.port, timeout=timeout_s)


def ask_for_health(open_connection: http.client.HTTPConnection) -> int:
    open_connection.request("GET", "/health")
    with open_connection.getresponse() as answer:
        answer.read()
        return answer.status


def health(proxy: Proxy) -> int | None:
    """The status that a client of one request sees; None where it gets no answer."""
    once = connection(proxy)
    try:
        return ask_for_health(once)
    except (ConnectionError, http.client.HTTPException):
        return None
    finally:
        once.close()
