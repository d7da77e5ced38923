"""The framing of our own memcached commands, against replies that a real server gives too seldom."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from pymemcache.exceptions import MemcacheError

from api_service.caches.wire import NodeClient, _batches

ONE = b'VALUE a 74 12\r\n"END\r\nVALUE"\r\nEND\r\n'
TWO = b'VALUE a 74 12\r\n"END\r\nVALUE"\r\nVALUE b 74 1\r\n7\r\nEND\r\n'
FOUND = {b"a": (b"74", b'"END\r\nVALUE"'), b"b": (b"74", b"7")}


class Peer:
    """The server's end of a client's connection; says what the test tells it."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.client = NodeClient(listener.getsockname(), connect_timeout=5, timeout=5, no_delay=True)
            self.client.make_ready()
            self.sock, _address = listener.accept()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.settimeout(5)

    def says(self, reply: bytes) -> NodeClient:
        self.sock.sendall(reply)
        return self.client

    def drips(self, reply: bytes) -> None:
        for position in range(len(reply)):
            self.sock.sendall(reply[position : position + 1])


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.client.close()
    peer.sock.close()


def test_replies_are_read_whole_however_they_are_cut(peer: Peer) -> None:
    with ThreadPoolExecutor(1) as server:
        for _ in range(20):
            server.submit(peer.drips, ONE)
            assert peer.client.fetch_one(b"a") == FOUND[b"a"]
            server.submit(peer.drips, b"END\r\n")
            assert peer.client.fetch_one(b"a") is None
            server.submit(peer.drips, TWO)
            assert peer.client.fetch_many([b"a", b"b"]) == FOUND
            server.submit(peer.drips, b"STORED\r\nNOT_STORED\r\n")
            assert peer.client.store_items(b"add", [(b"a", b"1"), (b"b", b"2")], 74, 0) == [True, False]


def test_a_refused_value_takes_the_old_one_with_it(peer: Peer) -> None:
    def serve() -> list[bytes]:
        set_two = peer.sock.recv(1_000)
        peer.says(b"STORED\r\nSERVER_ERROR out of memory storing object\r\n")
        delete_one = peer.sock.recv(1_000)
        peer.says(b"DELETED\r\n")
        return [set_two, delete_one]

    with ThreadPoolExecutor(1) as server:
        asked = server.submit(serve)
        assert peer.client.set_items([(b"a", b"1"), (b"b", b"22")], 74, 60) == [True, False]
        assert asked.result(5) == [b"set a 74 60 1\r\n1\r\nset b 74 60 2\r\n22\r\n", b"delete b\r\n"]


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (b"VALUE other 74 1\r\n1\r\nEND\r\n", "another question"),
        (ONE + b"END\r\n", "unexpected bytes"),
        (b"VALUE a 74 -1\r\n", "unexpected answer"),
        (b"SERVER_ERROR out of memory\r\n", "out of memory"),
        (b"ERROR\r\n", "ERROR"),
        (b'"a piece of a secret value"\r\n', "unexpected answer"),
    ],
)
def test_a_reply_that_does_not_fit_is_an_error_that_shows_no_value(peer: Peer, reply: bytes, message: str) -> None:
    with pytest.raises(MemcacheError, match=message) as one:
        peer.says(reply).fetch_one(b"a")
    assert "secret" not in str(one.value)


def test_more_replies_than_questions_are_an_error(peer: Peer) -> None:
    with pytest.raises(MemcacheError, match="more replies"):
        peer.says(b"STORED\r\nSTORED\r\n").store_items(b"set", [(b"a", b"1")], 74, 0)


def test_a_server_that_hangs_up_in_the_middle_is_an_error(peer: Peer) -> None:
    peer.says(ONE[:20])
    peer.sock.shutdown(socket.SHUT_WR)
    with pytest.raises(MemcacheError):
        peer.client.fetch_one(b"a")


def test_batches_are_bounded_by_items_and_by_bytes() -> None:
    small = [(b"%d" % number, b"1") for number in range(2_500)]
    assert [len(batch) for batch in _batches(small)] == [1_000, 1_000, 500]
    large = [(b"a", b"x" * 600_000), (b"b", b"x" * 600_000), (b"c", b"x" * 2_000_000), (b"d", b"x")]
    assert [len(batch) for batch in _batches(large)] == [1, 1, 1, 1]
    assert list(_batches([])) == []
