"""Order, watching and exit codes, with parts that do nothing but live."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from workers.embedded.part import Part
from workers.embedded.process import Process


class Quiet(Part):
    """Lives until it is stopped, and notes both."""

    patience = 5.0

    def __init__(self, name: str, notes: list[str], *, stubborn: bool = False) -> None:
        self.name = name
        super().__init__()
        self.notes = notes
        self.stubborn = stubborn
        self.end = threading.Event()

    def serve(self) -> None:
        self.notes.append(f"start {self.name}")
        self.ready()
        self.end.wait(30)

    def stop(self) -> None:
        self.notes.append(f"stop {self.name}")
        if not self.stubborn:
            self.end.set()


class Broken(Quiet):
    def serve(self) -> None:
        raise RuntimeError("it broke")


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The process under test takes over both signals of this one."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def run(parts: list[Part], notes: list[str], *, signalled: bool = True) -> int:
    process = Process(parts, say=notes.append, complain=lambda text: notes.append(f"!{text}"))
    return process.run(lambda: os.kill(os.getpid(), signal.SIGTERM) if signalled else None)


def test_what_started_last_stops_first(notes: list[str]) -> None:
    assert run([Quiet("sandbox", notes), Quiet("worker", notes), Quiet("beat", notes)], notes) == 0
    assert [note for note in notes if note.startswith("stop")] == ["stop beat", "stop worker", "stop sandbox"]
    assert sorted(note for note in notes if note.startswith("start")) == ["start beat", "start sandbox", "start worker"]


def test_a_part_that_dies_stops_the_others_and_is_named(notes: list[str], caplog: pytest.LogCaptureFixture) -> None:
    assert run([Quiet("web", notes), Broken("beat", notes)], notes, signalled=False) == 1
    assert any(note.startswith("!beat ended unexpectedly") for note in notes)
    assert "stop web" in notes
    assert "it broke" in caplog.text


def test_a_part_that_does_not_stop_is_named_and_the_others_are_stopped(notes: list[str]) -> None:
    stubborn = Quiet("worker", notes, stubborn=True)
    stubborn.patience = 0.05
    assert run([Quiet("sandbox", notes), stubborn], notes) == 1
    assert "!worker did not stop in time and was cut off." in notes
    assert notes.index("stop worker") < notes.index("stop sandbox")
    stubborn.end.set()
    assert stubborn.join(5)


def test_a_signal_says_that_it_was_heard(notes: list[str]) -> None:
    assert run([Quiet("web", notes)], notes) == 0
    assert any("Stopping" in note for note in notes)
    assert not any(note.startswith("!") for note in notes)
