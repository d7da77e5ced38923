"""A node that speaks memcached as far as a list of its keys, and fails in the midst of it."""

import socket
from threading import Thread


class MidwayServer(Thread):
    """Speaks memcached until the dump, then does `last` in the midst of the list, or gives one of `replies`.

    It counts `items` keys of its own.
    """

    def __init__(self, last: str, *replies: bytes, items: int = 0) -> None:
        super().__init__(daemon=True)
        self.items = items
        self.last = last
        self.replies = list(replies)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.kept: list[socket.socket] = []
        self.start()

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.kept.append(connection)
            Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        try:
            while request := connection.recv(65_536):
                if not self.answer(connection, request):
                    return
            connection.close()
        except OSError:
            return

    def answer(self, connection: socket.socket, request: bytes) -> bool:
        if b"metadump" in request and self.replies:
            connection.sendall(self.replies.pop(0))
        elif b"metadump" in request:
            connection.sendall(b"key=%3A1%3Aa exp=-1 la=1 cas=1 fetch=no cls=1 size=60\r\nkey=%3A1")
            if self.last == "close":
                connection.close()
            return False
        elif request.startswith(b"stats"):
            connection.sendall(b"STAT curr_items %d\r\nEND\r\n" % self.items)
        else:
            connection.sendall(b"STORED\r\n" if request.startswith(b"add") else b"END\r\n")
        return True

    def stop(self) -> None:
        self.listener.close()
        for connection in self.kept:
            connection.close()
