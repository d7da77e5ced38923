import random
import re

import pytest

from api_service.services import keys
from api_service.services.keys import KeyParts, are_plain, foreign_prefix, normalize, normalize_all, parse

ALPHABET = [*"abcXYZ019:_-.~ \t\n\0", "\x7f", "ñ", "é", "中", "😀", "\ud800"]


def random_keys(number: int) -> set[str]:
    """Short ones of a small alphabet collide often, if anything can; some grow beyond the limit."""
    draw = random.Random(20100038146)
    short = {"".join(draw.choices(ALPHABET, k=draw.randint(0, 6))) for _ in range(number)}
    long = {"x" * draw.randint(200, 400) + draw.choice(ALPHABET) for _ in range(number // 10)}
    return short | long


def test_different_keys_never_meet_even_when_their_normalised_forms_are_keys_too() -> None:
    asked = random_keys(20_000)
    asked |= {normalize(key) for key in asked}

    assert len({normalize(key) for key in asked}) == len(asked)


@pytest.mark.parametrize("prefix_length", [0, 3, 40, 217, 230])
def test_a_normalised_key_is_printable_ascii_within_memcacheds_limit(prefix_length: int) -> None:
    for key in random_keys(2_000):
        name = normalize(key, prefix_length)
        assert re.fullmatch(r"[!-~]+", name), repr(key)
        assert len(name.encode()) <= max(keys.MAX_KEY_BYTES - prefix_length, keys.HASH_LENGTH + 1)


def test_an_ordinary_key_stays_as_it_is_up_to_the_last_byte() -> None:
    assert normalize("migo:ruc_20100038146", 3) == "migo:ruc_20100038146"
    assert normalize("k" * 247, 3) == "k" * 247
    assert normalize("k" * 248, 3) != "k" * 248


def test_a_changed_key_stays_readable_and_ends_in_a_hash() -> None:
    name = normalize("migo:razón social")

    assert re.fullmatch(r"migo:raz\.n\.social~[0-9a-f]{32}", name)


def test_a_changed_key_never_falls_into_another_service() -> None:
    """`migo x:1` must not be cleared together with the service `migo_x`."""
    for foreign in ("migo x:1", "migoñ:1", "ñ:1"):
        assert parse(normalize(foreign)) is None, foreign


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("migo:ruc_20100038146", KeyParts("migo", "ruc", "20100038146")),
        ("migo:invalid_20999999999", KeyParts("migo", "invalid", "20999999999")),
        ("migo:dni_12345678", KeyParts("migo", "dni", "12345678")),
        ("migo:tipo_cambio_2026-01-28", KeyParts("migo", "tipo_cambio", "2026-01-28")),
        ("migo:tipo_cambio_latest", KeyParts("migo", "tipo_cambio", "latest")),
        ("migo:representantes_20100038146", KeyParts("migo", "representantes", "20100038146")),
        ("nubefact:invoice_F001-1", KeyParts("nubefact", "invoice", "F001-1")),
        ("migo:account", KeyParts("migo", "other", "account")),
    ],
)
def test_a_key_of_ours_is_read_back_into_its_parts(key: str, parts: KeyParts) -> None:
    assert parse(key) == parts


@pytest.mark.parametrize("key", ["plain", "migo:", ":x", "MIGO:ruc_1", "mi go:x", "migo:a b", "migo:ñ", "migo:\0", ""])
def test_what_names_no_service_or_was_never_normalised_is_not_ours(key: str) -> None:
    assert parse(key) is None


def test_a_key_longer_than_any_of_ours_is_not_ours() -> None:
    assert parse("migo:" + "x" * 245) is not None
    assert parse("migo:" + "x" * 246) is None


@pytest.mark.parametrize("service", ["", "Migo", "mi go", "migo:", "*", "_x", "x" * 51])
def test_a_name_that_cannot_be_a_services_is_refused(service: str) -> None:
    with pytest.raises(ValueError, match="service name"):
        keys.service_key(service, "ruc_1")


@pytest.mark.parametrize(
    ("key", "prefix"),
    [
        (":1:a", "a"),
        (":1:session.abc", "session"),
        (":12:views.decorators.cache", "views"),
        ("shop:1:cart_9", "shop"),
        ("celery-task-meta-5f0c", "celery"),
        ("plain", "plain"),
        ("", "(empty)"),
        ("::", "(empty)"),
    ],
)
def test_a_foreign_key_is_counted_under_its_own_first_part(key: str, prefix: str) -> None:
    assert foreign_prefix(key) == prefix


def test_a_foreign_key_that_may_be_a_secret_is_not_written_down() -> None:
    assert foreign_prefix(":1:9mrz3k0c2v8xq1w7t5y4u6i0o9p8a7s6") == "(no prefix)"
    assert len(foreign_prefix("x" * 100 + ":y")) == 30


def test_a_foreign_key_of_odd_bytes_is_counted_under_text_that_a_database_takes() -> None:
    assert foreign_prefix("a\0b:c") == "a?b"


@pytest.mark.parametrize("name", ["migo:ruc_1", "a" * 250, "a" * 251, "a b", "ñ", "a\n", "a\x7f", f"a~{'0' * 32}"])
def test_many_names_are_plain_only_if_none_would_change(name: str) -> None:
    assert are_plain(["migo:ruc_2", name, "migo:ruc_3"]) == (normalize(name) == name)
    assert are_plain([])


@pytest.mark.parametrize("name", ["migo:ruc_1", "", "a b", "a" * 248, "ñ", f"a~{'0' * 32}"])
def test_many_names_are_normalised_as_one_by_one(name: str) -> None:
    names = ["migo:ruc_2", name, "migo:ruc_3"]
    assert list(normalize_all(names, 3)) == [normalize(one, 3) for one in names]
