"""RUCs for tests: real ones, and as many valid ones as needed."""

from stdnum.pe.ruc import calc_check_digit

REAL = ("20100038146", "20131312955", "20603274742", "20100047218", "20100055237", "20100017491")
WRONG_CHECK_DIGIT = ("20123456789", "20999999999", "20111111111")


def valid_rucs(count: int, start: int = 0) -> list[str]:
    """`count` different RUCs of companies that pass the check digit."""
    stems = (f"20{number:08d}" for number in range(start, start + count))
    return [stem + calc_check_digit(stem + "0") for stem in stems]


def record(ruc: str) -> dict[str, str]:
    """A record of about the size that APIMIGO sends (700 bytes)."""
    return {
        "ruc": ruc,
        "nombre_o_razon_social": f"EMPRESA DE PRUEBA {ruc} S.A.C.",
        "estado_del_contribuyente": "ACTIVO",
        "condicion_de_domicilio": "HABIDO",
        "direccion": "AV. ÑAÑA NRO. 123 " + "URB. LOS JARDINES " * 25,
        "departamento": "LIMA",
    }
