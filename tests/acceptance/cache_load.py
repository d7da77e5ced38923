"""Traffic on a cache until SIGTERM: `python -m tests.acceptance.cache_load`. Prints "ready" after the first round.

Keys of two services and of somebody else are written, read, renewed, left to expire and deleted, all at random.
"""

import random
import signal
from concurrent.futures import ThreadPoolExecutor
from threading import Event

THREADS = 2
IDENTIFIERS = 1500
BATCH = 40
# Of two sizes, so that a node of 2 MB has no room for all of them
SIZES = (100, 4000)
PAUSE_SECONDS = 0.02  # leaves the machine to the inventory
# Some end while the inventories run, the others long after
SHORT, LONG = (1, 2, 3), (600, 3600, 86_400)
STRANGE = ("ruc_50%25", "ruc_a b", "ruc_ñandú", "ruc_" + "9" * 240)


def main() -> None:
    import django

    django.setup()
    stop = Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with ThreadPoolExecutor(THREADS) as pool:
        players = [pool.submit(play, random.Random(seed), stop) for seed in range(THREADS)]
        for player in players:
            player.result()


def play(pick: random.Random, stop: Event) -> None:
    from django.core.cache import caches

    from api_service.services.cache_service import APICacheService

    service, started = APICacheService(), False
    while not stop.wait(PAUSE_SECONDS):
        for ttl in (pick.choice(SHORT), pick.choice(LONG)):
            failed = service.set_many({name: "x" * pick.choice(SIZES) for name in names(pick)}, ttl)
            assert failed == [], failed
        caches["default"].set(f"migo:dni_{pick.randrange(500)}", "for ever", None)
        caches["default"].set(f"session.{pick.randrange(500)}", "theirs", 3600)
        service.set(f"migo:{pick.choice(STRANGE)}", 1, pick.choice(LONG))
        service.get_many(names(pick))
        for name in names(pick)[:5]:
            service.delete(name)
        if not started:
            print("ready", flush=True)
            started = True


def names(pick: random.Random) -> list[str]:
    return [f"{pick.choice(('migo', 'nubefact'))}:ruc_{pick.randrange(IDENTIFIERS)}" for _ in range(BATCH)]


if __name__ == "__main__":
    main()
