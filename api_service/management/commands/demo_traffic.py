"""Makes realistic look-ups over HTTP against a running server, to see it live."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from threading import BoundedSemaphore, Lock
from time import monotonic, sleep
from typing import Any, Final
from urllib.parse import quote, urlsplit

from django.conf import settings
from django.core.management.base import CommandParser

from api_service.management.base import ServiceCommand, not_done, partly, read_text
from api_service.services.demo import REAL, Office, customers, intensity
from api_service.services.errors import UpstreamError
from api_service.services.redaction import register_secrets
from api_service.services.upstream import Patience, Request, Response, door, json_of

# People wait for one answer before they ask for the next: no more than this many at once
PEOPLE: Final = 16
PATIENCE: Final = Patience(connect=2.0, read=35.0, deadline=40.0, attempts=1)
FAILED: Final = "failed"
# The traffic is looked at anew this often: by then it may be another hour of the demo's day
MOMENT: Final = 0.25
REFRESH_SECONDS: Final = {True: 0.5, False: 5.0}  # by whether stderr is a terminal


@dataclass
class Score:
    """What the server answered, by outcome. Filled by many threads."""

    outcomes: Counter[str] = field(default_factory=Counter)
    from_apimigo: int = 0
    seconds: float = 0.0
    last_error: str = ""
    _lock: Lock = field(default_factory=Lock, repr=False)

    def add(self, outcome: str, *, from_apimigo: bool, seconds: float, error: str = "") -> None:
        with self._lock:
            self.outcomes[outcome] += 1
            self.from_apimigo += from_apimigo
            self.seconds += seconds
            self.last_error = error or self.last_error

    @property
    def total(self) -> int:
        return self.outcomes.total()

    def as_json(self, seconds: float) -> dict[str, Any]:
        """Times in milliseconds, the rate a second."""
        return {
            "lookups": self.total,
            "per_second": round(self.total / seconds, 1) if seconds else 0.0,
            "outcomes": dict(self.outcomes.most_common()),
            "from_apimigo": self.from_apimigo,
            "mean_ms": round(1000 * self.seconds / self.total, 1) if self.total else None,
            "last_error": self.last_error,
        }


@dataclass(frozen=True)
class Server:
    url: str
    token: str = field(repr=False)

    def ask(self, ruc: str) -> Response:
        """The response, whatever its status. UpstreamError when there is none."""
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "application/json"}
        address = f"{self.url}/api/v1/ruc/{quote(ruc, safe='')}"
        return door().call(Request("GET", address, headers), PATIENCE, lambda response: response)


class Command(ServiceCommand):
    help = (
        "Make look-ups as an office does over a day in Lima: few RUCs often, most of them rarely, some mistyped. "
        "They are paid for when the server asks the real APIMIGO. Stops by itself, and on Ctrl-C."
    )
    partly = "the server failed at some look-ups"
    needs_shared_cache = False
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--url", default="http://127.0.0.1:8000", help="of the running server (%(default)s)")
        parser.add_argument("--token-file", metavar="PATH", help="holds the API token; API_TOKEN when not given")
        parser.add_argument("--seconds", type=float, default=60.0, help="how long (%(default)s)")
        parser.add_argument("--rate", type=float, default=20.0, help="look-ups a second in the busiest hour (20)")
        parser.add_argument("--speed", type=float, default=600.0, help="times faster than the clock (%(default)s)")
        parser.add_argument("--start-hour", type=float, default=8.0, help="of the day in Lima (%(default)s)")
        parser.add_argument("--seed", type=int, default=1, help="the same seed asks for the same RUCs")
        parser.add_argument("--paid", action="store_true", help="go on although the real APIMIGO would be paid")

    def act(self, options: Mapping[str, Any]) -> None:
        _check(options)
        server = Server(options["url"].rstrip("/"), _token(options["token_file"]))
        score = Score()
        _ask_once(server)
        started = monotonic()
        try:
            self.stderr.write(f"Asking {server.url} for {options['seconds']:g} s; Ctrl-C ends it sooner.")
            self._run(server, score, options)
        except KeyboardInterrupt:
            self.stderr.write("\nStopping.")
        result = score.as_json(monotonic() - started)
        self.show(result, as_json=options["json"], text=lambda: _text(result))
        if failed := score.outcomes[FAILED]:
            raise partly(f"{failed} look-ups failed; the last one: {score.last_error}")

    def _run(self, server: Server, score: Score, options: Mapping[str, Any]) -> None:
        """Until the time is over; who is being answered then, or at Ctrl-C, is waited for."""
        people = BoundedSemaphore(PEOPLE)

        def look_up(ruc: str) -> None:
            try:
                _score(server, ruc, score)
            finally:
                people.release()

        with ThreadPoolExecutor(PEOPLE, thread_name_prefix="demo") as pool:
            for ruc in self._day(score, options):
                people.acquire()
                pool.submit(look_up, ruc)

    def _day(self, score: Score, options: Mapping[str, Any]) -> Iterator[str]:
        """The RUCs of the day, each at its time."""
        office = Office(options["seed"], customers(options["seed"]))
        started, shown = monotonic(), 0.0
        tty = self.stderr.isatty()
        while (elapsed := monotonic() - started) < options["seconds"]:
            hour = options["start_hour"] + elapsed * options["speed"] / 3600
            if elapsed - shown >= REFRESH_SECONDS[tty]:
                shown = elapsed
                self._tell(_line(score, hour, elapsed), tty=tty)
            pause = office.pause(options["rate"] * intensity(hour))
            if pause > MOMENT:
                sleep(MOMENT)
                continue
            sleep(pause)
            yield office.next_ruc()
        if tty:
            self.stderr.write("")

    def _tell(self, line: str, *, tty: bool) -> None:
        self.stderr.write(f"\r{line:<110}" if tty else line, ending="" if tty else "\n")
        self.stderr.flush()


def _check(options: Mapping[str, Any]) -> None:
    for name in ("seconds", "rate", "speed"):
        if not 0 < options[name] < float("inf"):
            raise not_done(f"--{name.replace('_', '-')} must be more than 0")
    if urlsplit(options["url"]).scheme not in {"http", "https"}:
        raise not_done("--url must be an address such as http://127.0.0.1:8000")
    host = urlsplit(settings.MIGO_BASE_URL).hostname or ""
    if settings.MIGO_TOKEN and host.endswith("migo.pe") and not options["paid"]:
        raise not_done("MIGO_TOKEN is set: these look-ups would be paid for at APIMIGO. Add --paid if that is meant")


def _token(path: str | None) -> str:
    if path is None:
        return str(settings.API_TOKEN)
    token = read_text(path).strip()
    if not token or not token.isascii() or len(token.split()) != 1:
        raise not_done(f"{path} must hold the token and nothing else")
    register_secrets([token])
    return token


def _ask_once(server: Server) -> None:
    """Before anything else: a wrong address or token is one clear line, not a minute of failures."""
    try:
        status = server.ask(REAL[0]).status
    except UpstreamError as error:
        raise not_done(f"{server.url} does not answer ({error.message}): is the server running there?") from error
    if status == HTTPStatus.UNAUTHORIZED:
        raise not_done(f"{server.url} refuses the token: give --token-file with the server's API_TOKEN")
    if status == HTTPStatus.NOT_FOUND:
        raise not_done(f"{server.url} has no /api/v1/ruc/: is it this service?")


def _score(server: Server, ruc: str, score: Score) -> None:
    started = monotonic()
    try:
        response = server.ask(ruc)
        outcome, ours, error = read_answer(response.status, json_of(response))
    except UpstreamError as trouble:
        outcome, ours, error = FAILED, False, trouble.message
    score.add(outcome, from_apimigo=ours, seconds=monotonic() - started, error=error)


def read_answer(status: int, body: object) -> tuple[str, bool, str]:
    """The outcome, whether it came from APIMIGO, and what went wrong."""
    if not isinstance(body, dict):
        return FAILED, False, f"status {status} without the service's own words"
    cache = body.get("cache") or {}
    if status == HTTPStatus.BAD_REQUEST:
        return "malformed", False, ""
    if status in {HTTPStatus.OK, HTTPStatus.NOT_FOUND} and cache:
        known = str(cache.get("outcome"))
        outcome = "negative" if status == HTTPStatus.NOT_FOUND else known
        return outcome, cache.get("source") == "upstream", ""
    return FAILED, False, f"status {status}: {body.get('error', '')}"


def _line(score: Score, hour: float, elapsed: float) -> str:
    clock = f"{int(hour % 24):02d}:{int(hour % 1 * 60):02d}"
    facts = score.as_json(elapsed)
    outcomes = " ".join(f"{name} {count}" for name, count in facts["outcomes"].items())
    done = f"{facts['lookups']} look-ups, {facts['per_second']}/s"
    return f"{clock} in Lima  {done}  {outcomes}  from APIMIGO {score.from_apimigo}"


def _text(result: Mapping[str, Any]) -> str:
    outcomes = ", ".join(f"{name} {count}" for name, count in result["outcomes"].items()) or "none"
    return (
        f"{result['lookups']} look-ups, {result['per_second']} a second, {result['mean_ms']} ms each\n"
        f"outcomes: {outcomes}; {result['from_apimigo']} answers came from APIMIGO"
    )
