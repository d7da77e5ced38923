"""What is refused before anything starts."""

import socket
from contextlib import closing
from pathlib import Path

import pytest

from tests.processes import HOST, free_port
from workers.embedded.preflight import (
    Address,
    CannotStart,
    bind_all,
    check_flower_password,
    lock_folder,
    prepare_folder,
)


def test_a_bound_port_is_kept_until_it_is_used() -> None:
    address = Address(HOST, free_port(), "WEB_PORT")
    bound = bind_all({"web": address})["web"]
    with (
        closing(bound),
        pytest.raises(CannotStart, match=rf"Port {address.port} for web .* WEB_PORT={address.port + 1}"),
    ):
        bind_all({"web": address})


def test_one_taken_port_gives_the_others_back() -> None:
    free, port = free_port(), free_port()
    with closing(socket.socket()) as taken:
        taken.bind((HOST, port))
        taken.listen()
        with pytest.raises(CannotStart, match="flower"):
            bind_all({"web": Address(HOST, free, "WEB_PORT"), "flower": Address(HOST, port, "FLOWER_PORT")})
    with closing(bind_all({"web": Address(HOST, free, "WEB_PORT")})["web"]) as again:
        assert again.getsockname()[1] == free


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_that_cannot_exist_is_refused(port: int) -> None:
    with pytest.raises(CannotStart, match="FLOWER_PORT"):
        bind_all({"flower": Address(HOST, port, "FLOWER_PORT")})


def test_two_parts_on_one_port_are_told_apart_by_their_variables() -> None:
    port = free_port()
    with pytest.raises(CannotStart, match="WEB_PORT and FLOWER_PORT"):
        bind_all({"web": Address(HOST, port, "WEB_PORT"), "flower": Address(HOST, port, "FLOWER_PORT")})


@pytest.mark.parametrize("pairs", ["", "admin", "admin:", ":secret", "admin:secret,other:"])
def test_flower_without_a_whole_user_and_password_is_refused(pairs: str) -> None:
    with pytest.raises(CannotStart, match="FLOWER_BASIC_AUTH") as refused:
        check_flower_password(pairs)
    assert "secret" not in str(refused.value)


def test_a_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    prepare_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    with pytest.raises(CannotStart, match="DATA_DIR"):
        prepare_folder(Path("/dev/null/x"))


def test_a_folder_belongs_to_one_run_and_is_free_again_after_it(tmp_path: Path) -> None:
    with lock_folder(tmp_path), pytest.raises(CannotStart, match=r"process \d+"):
        lock_folder(tmp_path)
    lock_folder(tmp_path).close()


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:80"), ("0.0.0.0", "http://127.0.0.1:80"), ("::", "http://[::1]:80")],
)
def test_an_address_is_shown_as_one_can_open_it(host: str, url: str) -> None:
    assert Address(host, 80, "WEB_PORT").url == url
