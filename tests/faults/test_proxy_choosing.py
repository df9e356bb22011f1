"""The proxy chooses what it does to a request: by path, by number, by a seed."""

import pytest

from faults.asking import ask_for_health, connection, health
from faults.proxy import Behaviour, CutRequest, CutResponse, Delay, Error, Pass, Proxy, Refuse, Scripted

pytestmark = pytest.mark.slow


ANYTHING: dict[Behaviour, float] = {
    Pass(): 2,
    Refuse(): 1,
    Error(500): 1,
    CutRequest(): 1,
    CutResponse(): 1,
    Delay(0.001): 1,
}


class TestScripted:
    def seen(self, server: str, script: Scripted) -> list[object]:
        with Proxy(server) as proxy:
            proxy.behave(script)
            statuses = {health(proxy) for _ in range(30)}
            assert statuses <= {200, 500, 503, None}
            return [each.behaviour for each in proxy.exchanges]

    def test_a_seed_draws_the_same_behaviours_in_the_same_order(self, server: str) -> None:
        drawn = self.seen(server, Scripted(seed=1, weights=ANYTHING))
        assert len(drawn) == 30
        assert self.seen(server, Scripted(seed=1, weights=ANYTHING)) == drawn
        assert self.seen(server, Scripted(seed=2, weights=ANYTHING)) != drawn

    def test_what_weighs_nothing_never_happens(self, server: str) -> None:
        drawn = self.seen(server, Scripted(seed=1, weights={Pass(): 1.0, Error(): 1.0, Refuse(): 0.0}))
        assert set(drawn) == {Pass(), Error()}


class TestChoosing:
    def test_a_behaviour_can_be_for_some_paths_and_some_times(self, proxy: Proxy) -> None:
        proxy.behave(Error(), path="/health", times=2)
        kept = connection(proxy)
        kept.request("GET", "/version")
        with kept.getresponse() as answer:
            assert (answer.status, bool(answer.read())) == (200, True)
        assert [ask_for_health(kept) for _ in range(3)] == [503, 503, 200]
        kept.close()

    def test_it_can_change_while_a_connection_is_open(self, proxy: Proxy) -> None:
        kept = connection(proxy)
        statuses = []
        for behaviour in (Pass(), Error(500), Pass()):
            proxy.behave(behaviour)
            statuses.append(ask_for_health(kept))
        kept.close()
        assert statuses == [200, 500, 200]
