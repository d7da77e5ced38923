import pytest

from api_service.services import ruc

REAL = ["20100038146", "20131312955", "20603274742", "20100047218", "20100055237", "20100017491"]


@pytest.mark.parametrize("number", REAL)
def test_numbers_of_real_taxpayers_are_valid(number: str) -> None:
    assert ruc.is_valid(number)
    assert ruc.reason(number) is None


@pytest.mark.parametrize("number", ["20123456789", "20999999999", "20111111111"])
def test_a_wrong_check_digit_is_malformed_though_it_has_eleven_digits(number: str) -> None:
    assert ruc.is_eleven_digits(number)
    assert ruc.reason(number) == "FORMATO_INVALIDO"


@pytest.mark.parametrize("prefix", ["10", "15", "16", "17", "20"])
def test_every_prefix_that_sunat_gives_is_accepted(prefix: str) -> None:
    numbers = [f"{prefix}13131295{digit}" for digit in range(10)]
    assert sum(ruc.is_valid(f"{number[:10]}{check}") for number in numbers[:1] for check in range(10)) == 1


@pytest.mark.parametrize("prefix", ["00", "11", "19", "21", "99"])
def test_no_other_prefix_is_accepted(prefix: str) -> None:
    assert not any(ruc.is_valid(f"{prefix}13131295{check}") for check in range(10))


@pytest.mark.parametrize(
    "text", ["", "2010003814", "201000381460", "2010003814X", "２０１０００３８１４６", "20100038146\n", "٢٠١٠٠٠٣٨١٤٦"]
)
def test_what_is_not_eleven_plain_digits_is_malformed(text: str) -> None:
    assert not ruc.is_eleven_digits(text)
    assert ruc.reason(text) == "FORMATO_INVALIDO"


@pytest.mark.parametrize(
    "pasted", [" 20100038146 ", "20-10003814-6", "20 100 038 146", "20100038146\n", "20–10003814–6"]
)
def test_blanks_and_dashes_of_pasted_numbers_do_not_matter(pasted: str) -> None:
    assert ruc.normalise(pasted) == "20100038146"


def test_a_dni_has_eight_digits() -> None:
    assert ruc.dni_reason("12345678") is None
    assert [ruc.dni_reason(text) for text in ("1234567", "123456789", "1234567a")] == ["FORMATO_INVALIDO"] * 3
