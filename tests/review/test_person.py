"""Who takes part in a review: where the name comes from, how it is written, and who is the same person."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_exp.base import paths
from mnist_exp.base.errors import StoreAway
from mnist_exp.review.person import Person, claimed, current
from mnist_exp.tracking.protocols import Backend

ANN = Person("Ann Lee", "ann@example.org")


class Server:
    """A store of which only the login is asked."""

    def __init__(self, login: str | None) -> None:
        self._login = login

    def login(self) -> str | None:
        return self._login


def server(login: str | None) -> Backend:
    return cast("Backend", Server(login))


class TestText:
    def test_an_email_address_stands_in_angle_brackets(self) -> None:
        assert str(ANN) == "Ann Lee <ann@example.org>"

    def test_a_login_stands_alone(self) -> None:
        assert str(Person("ann", is_login=True)) == "ann"

    def test_a_person_is_read_back_from_its_text(self) -> None:
        assert Person.parse("Ann Lee <ann@example.org>") == ANN
        assert Person.parse("ann") == Person("ann")

    def test_text_does_not_make_anybody_a_login(self) -> None:
        assert not Person.parse(str(Person("ann", is_login=True))).is_login

    @given(st.text(), st.text())
    def test_whatever_the_names_are_they_are_read_back(self, name: str, email: str) -> None:
        person = Person(name, email)
        assert Person.parse(str(person)) == person

    @pytest.mark.parametrize("text", ["", "   ", "<>", "\n"])
    def test_nobody_is_unknown(self, text: str) -> None:
        assert Person.parse(text) == Person("unknown")

    def test_an_email_address_without_a_name_is_the_name(self) -> None:
        assert Person.parse("<ann@example.org>").name == "ann@example.org"


class TestUntrustedNames:
    @given(st.text(), st.text())
    def test_a_name_is_one_bounded_line_without_angle_brackets(self, name: str, email: str) -> None:
        person = Person(name * 50, email * 50)
        for field in (person.name, person.email):
            assert len(field) <= 200
            assert field == "" or field.isprintable()
            assert not set(field) & set("<>")

    def test_a_login_cannot_pretend_to_have_an_email_address(self) -> None:
        assert str(Person("Ann <ann@example.org>", is_login=True)) == "Ann ann@example.org"

    def test_a_terminal_does_not_obey_a_name(self) -> None:
        assert Person("ann\x1b[2J\nAPPROVED").name == r"ann\x1b[2J APPROVED"

    def test_letters_of_every_language_stay(self) -> None:
        assert Person("Zoë 李").name == "Zoë 李"


class TestIsCalled:
    @pytest.mark.parametrize(
        "name", ["Ann Lee", "ann lee", "ANN", "ann@example.org", "Ann Lee <ann@example.org>", " ann  lee "]
    )
    def test_by_the_whole_text_the_name_the_address_and_its_first_part(self, name: str) -> None:
        assert ANN.is_called(name)

    @pytest.mark.parametrize("name", ["", " ", "Lee", "an", "example.org", "bob", "Ann Lee <ann@elsewhere.org>"])
    def test_by_nothing_else(self, name: str) -> None:
        assert not ANN.is_called(name)

    def test_nobody_is_called_by_an_empty_name(self) -> None:
        assert not Person("ann").is_called("")


class TestIsSame:
    def test_two_names_with_one_address_are_one_person(self) -> None:
        assert ANN.is_same(Person("A. Lee", "Ann@Example.org"))

    def test_one_name_with_two_addresses_is_two_people(self) -> None:
        assert not ANN.is_same(Person("Ann Lee", "ann@elsewhere.org"))

    def test_without_two_addresses_the_names_decide(self) -> None:
        assert ANN.is_same(Person("ann lee"))
        assert Person("ann", is_login=True).is_same(Person.parse("ann"))
        assert not Person("ann").is_same(Person("bob"))


class TestCurrent:
    @pytest.fixture(autouse=True)
    def no_git_identity(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "EMAIL", "GIT_DIR", "GIT_CONFIG_COUNT"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
        monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        monkeypatch.setattr(paths, "root", lambda: tmp_path)
        monkeypatch.setenv("LOGNAME", "account")

    @pytest.fixture
    def git_config(self, tmp_path: Path) -> Callable[[str], None]:
        def write(text: str) -> None:
            (tmp_path / "gitconfig").write_text(text)

        return write

    def test_the_login_of_the_server_comes_first(self, git_config: Callable[[str], None]) -> None:
        git_config("[user]\nname = Ann Lee\nemail = ann@example.org\n")
        assert current(server("ann")) == Person("ann", is_login=True)

    def test_git_names_who_has_no_login(self, git_config: Callable[[str], None]) -> None:
        git_config("[user]\nname = Ann Lee\nemail = ann@example.org\n")
        assert current(server(None)) == ANN == claimed()

    def test_gits_environment_comes_before_its_config(
        self, git_config: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        git_config("[user]\nname = Ann Lee\nemail = ann@example.org\n")
        monkeypatch.setenv("GIT_AUTHOR_NAME", "Bob")
        monkeypatch.setenv("GIT_AUTHOR_EMAIL", "bob@example.org")
        assert current(server(None)) == Person("Bob", "bob@example.org")

    def test_without_an_identity_of_git_it_is_the_account(self) -> None:
        assert current(server(None)) == Person("account")

    def test_a_name_without_an_address_is_not_completed_by_the_host(self, git_config: Callable[[str], None]) -> None:
        git_config("[user]\nname = Ann Lee\n")
        assert current(server(None)) == Person("account")

    def test_without_git_it_is_the_account(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        assert current(server(None)) == Person("account")

    def test_a_damaged_config_of_git_is_no_error(self, git_config: Callable[[str], None]) -> None:
        git_config("[user\n")
        assert current(server(None)) == Person("account")

    def test_a_server_that_is_away_is_an_error(self) -> None:
        class Away:
            def login(self) -> str | None:
                raise StoreAway("no server answers there")

        with pytest.raises(StoreAway):
            current(cast("Backend", Away()))
