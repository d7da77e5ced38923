"""Peruvian records made up from a hash: the same number always gives the same company, on every machine.

The six numbers of real, well-known taxpayers carry their public names.
"""

import hashlib
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Final, NamedTuple, TypeVar

T = TypeVar("T")

Record = dict[str, str]


class Place(NamedTuple):
    ubigeo: str
    distrito: str
    provincia: str
    departamento: str


PLACES: Final = (
    Place("150101", "LIMA", "LIMA", "LIMA"),
    Place("150103", "ATE", "LIMA", "LIMA"),
    Place("150114", "LA MOLINA", "LIMA", "LIMA"),
    Place("150115", "LA VICTORIA", "LIMA", "LIMA"),
    Place("150122", "MIRAFLORES", "LIMA", "LIMA"),
    Place("150130", "SAN BORJA", "LIMA", "LIMA"),
    Place("150131", "SAN ISIDRO", "LIMA", "LIMA"),
    Place("150132", "SAN JUAN DE LURIGANCHO", "LIMA", "LIMA"),
    Place("150140", "SANTIAGO DE SURCO", "LIMA", "LIMA"),
    Place("070101", "CALLAO", "CALLAO", "PROV. CONST. DEL CALLAO"),
    Place("040101", "AREQUIPA", "AREQUIPA", "AREQUIPA"),
    Place("040103", "CAYMA", "AREQUIPA", "AREQUIPA"),
    Place("130101", "TRUJILLO", "TRUJILLO", "LA LIBERTAD"),
    Place("140101", "CHICLAYO", "CHICLAYO", "LAMBAYEQUE"),
    Place("200101", "PIURA", "PIURA", "PIURA"),
    Place("080101", "CUSCO", "CUSCO", "CUSCO"),
    Place("120101", "HUANCAYO", "HUANCAYO", "JUNIN"),
    Place("160101", "IQUITOS", "MAYNAS", "LORETO"),
    Place("230101", "TACNA", "TACNA", "TACNA"),
    Place("110101", "ICA", "ICA", "ICA"),
    Place("060101", "CAJAMARCA", "CAJAMARCA", "CAJAMARCA"),
    Place("211101", "JULIACA", "SAN ROMAN", "PUNO"),
    Place("021801", "CHIMBOTE", "SANTA", "ANCASH"),
    Place("250101", "CALLERIA", "CORONEL PORTILLO", "UCAYALI"),
)


class Street(NamedTuple):
    kind: str
    name: str
    number: str
    zone_kind: str = "----"
    zone: str = "-"


NO_STREET: Final = Street("----", "-", "-")

WELL_KNOWN: Final = {
    "20100038146": (
        "CONTINENTAL S.A.C.",
        PLACES[1],
        Street("CAL.", "RENE DESCARTES", "114", "URB.", "SANTA RAQUEL II ETAPA"),
    ),
    "20131312955": (
        "SUPERINTENDENCIA NACIONAL DE ADUANAS Y DE ADMINISTRACION TRIBUTARIA - SUNAT",
        PLACES[0],
        Street("AV.", "GARCILASO DE LA VEGA", "1472"),
    ),
    "20603274742": ("MIGO S.A.C.", PLACES[8], Street("AV.", "CAMINOS DEL INCA", "257")),
    "20100047218": (
        "BANCO DE CREDITO DEL PERU",
        PLACES[2],
        Street("CAL.", "CENTENARIO", "156", "URB.", "LAS LADERAS DE MELGAREJO"),
    ),
    "20100055237": ("ALICORP SAA", PLACES[9], Street("AV.", "ARGENTINA", "4793")),
    "20100017491": ("TELEFONICA DEL PERU SAA", PLACES[4], Street("CAL.", "SCHELL", "310")),
}

_SURNAMES: Final = (
    *("QUISPE", "FLORES", "SANCHEZ", "GARCIA", "RODRIGUEZ", "ROJAS", "MAMANI", "CHAVEZ", "DIAZ", "HUAMAN"),
    *("RAMOS", "MENDOZA", "TORRES", "CASTILLO", "VASQUEZ", "ESPINOZA", "CONDORI", "GUTIERREZ", "SALAZAR", "CCORI"),
)
_FORENAMES: Final = (
    *("MARIA", "JUAN CARLOS", "ROSA", "LUIS ALBERTO", "ANA MARIA", "JOSE LUIS", "CARMEN", "JORGE", "JULIA", "VICTOR"),
    *("ELIZABETH", "MIGUEL ANGEL", "FLOR DE MARIA", "PEDRO PABLO", "LUZ MARINA", "CESAR AUGUSTO", "NELIDA", "WILMER"),
)
_TRADES: Final = (
    *("INVERSIONES", "COMERCIAL", "CORPORACION", "DISTRIBUIDORA", "TRANSPORTES", "CONSTRUCTORA", "SERVICIOS GENERALES"),
    *("AGROINDUSTRIAS", "IMPORTACIONES", "CONSULTORES", "MULTISERVICIOS", "TEXTILES", "BOTICAS", "FERRETERIA"),
)
_BRANDS: Final = (
    *("EL SOL", "LOS ANDES", "SANTA ROSA", "DEL PACIFICO", "SAN MARTIN", "KUELAP", "MISTI", "INTI", "AMAZONIA"),
    *("NUEVO NORTE", "TUMI", "VALLE SAGRADO", "SEÑOR DE LOS MILAGROS", "WARI", "PARACAS", "HUASCARAN", "CHAN CHAN"),
)
_LEGAL_FORMS: Final = ("S.A.C.", "S.A.C.", "S.A.C.", "E.I.R.L.", "E.I.R.L.", "S.R.L.", "S.A.")
_STREETS: Final = (
    *(("AV.", "JAVIER PRADO ESTE"), ("AV.", "AREQUIPA"), ("AV.", "LA MARINA"), ("AV.", "EL EJERCITO")),
    *(("JR.", "DE LA UNION"), ("JR.", "HUALLAGA"), ("CAL.", "LAS BEGONIAS"), ("CAL.", "LOS PINOS")),
    *(("CAR.", "PANAMERICANA NORTE"), ("PJ.", "SAN JOSE"), ("----", "-")),
)
_ZONES: Final = (("URB.", "SANTA CATALINA"), ("A.H.", "VILLA MARIA"), ("COO.", "27 DE ABRIL"), ("----", "-"))
_CLOSED: Final = ("BAJA DE OFICIO", "BAJA DEFINITIVA", "SUSPENSION TEMPORAL", "BAJA PROV. POR OFICIO")
_POSTS: Final = ("GERENTE GENERAL", "APODERADO", "TITULAR-GERENTE", "DIRECTOR")


class _Dice:
    """Independent choices drawn from one text, each by a name of its own."""

    def __init__(self, text: str) -> None:
        self._text = text

    def number(self, name: str, below: int) -> int:
        digest = hashlib.blake2b(f"{self._text}/{name}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) % below

    def pick(self, name: str, options: Sequence[T]) -> T:
        return options[self.number(name, len(options))]

    def share(self, name: str) -> float:
        return self.number(name, 1_000_000) / 1_000_000


def is_unknown(ruc: str, share: float) -> bool:
    """Whether SUNAT does not know this RUC. A larger share makes more of them unknown, and keeps those that were."""
    return ruc not in WELL_KNOWN and _Dice(ruc).share("unknown") < share


def left_out_of_collections(ruc: str) -> bool:
    """The contract has two ways to say that a RUC of a collection is unknown: `success: false`, or nothing at all."""
    return _Dice(ruc).number("left out", 2) == 0


def refused_with_404(ruc: str) -> bool:
    """And two for a single one: status 404, or 200 with `success: false`."""
    return _Dice(ruc).number("404", 2) == 0


def taxpayer(ruc: str, today: date) -> dict[str, object]:
    """The record of a RUC, with all fields of the contract."""
    dice = _Dice(ruc)
    known = ruc in WELL_KNOWN
    name, place, street = WELL_KNOWN.get(ruc) or (_name(ruc, dice), dice.pick("place", PLACES), _street(ruc, dice))
    flat = dice.share("has flat") < 0.2 and not known and street != NO_STREET
    interior = str(100 + dice.number("flat", 900)) if flat else "-"
    return {
        "success": True,
        "ruc": ruc,
        "nombre_o_razon_social": name,
        "estado_del_contribuyente": "ACTIVO" if known or dice.share("state") < 0.9 else dice.pick("closed", _CLOSED),
        "condicion_de_domicilio": "HABIDO" if known or dice.share("found") < 0.92 else "NO HABIDO",
        "ubigeo": "-" if street == NO_STREET else place.ubigeo,
        "tipo_de_via": street.kind,
        "nombre_de_via": street.name,
        "codigo_de_zona": street.zone_kind,
        "tipo_de_zona": street.zone,
        "numero": street.number,
        "interior": interior,
        **dict.fromkeys(("lote", "dpto", "manzana", "kilometro"), "-"),
        **_place_fields(place, street, interior),
        "actualizado_en": f"{today.isoformat()} {dice.number('hour', 6):02d}:{dice.number('minute', 60):02d}:00",
    }


def _name(ruc: str, dice: _Dice) -> str:
    if ruc.startswith("20"):
        return f"{dice.pick('trade', _TRADES)} {dice.pick('brand', _BRANDS)} {dice.pick('form', _LEGAL_FORMS)}"
    return person(ruc[2:10] if ruc.startswith("10") else ruc)


def person(number: str) -> str:
    """A person's name as SUNAT and RENIEC write it, the same for a DNI and for the RUC that contains it."""
    dice = _Dice(number)
    surnames = f"{dice.pick('father', _SURNAMES)} {dice.pick('mother', _SURNAMES)}"
    return f"{surnames} {dice.pick('forenames', _FORENAMES)}"


def _street(ruc: str, dice: _Dice) -> Street:
    """Persons' addresses are not public: SUNAT puts dashes."""
    kind, name = dice.pick("street", _STREETS)
    if ruc.startswith("10") or name == "-":
        return NO_STREET
    return Street(kind, name, str(100 + dice.number("number", 2900)), *dice.pick("zone", _ZONES))


def _place_fields(place: Place, street: Street, interior: str) -> Record:
    if street == NO_STREET:
        return dict.fromkeys(("distrito", "provincia", "departamento", "direccion_simple", "direccion"), "-")
    simple = f"{street.kind} {street.name} NRO. {street.number}"
    if interior != "-":
        simple += f" INT. {interior}"
    if street.zone != "-":
        simple += f" {street.zone_kind} {street.zone}"
    return {
        "distrito": place.distrito,
        "provincia": place.provincia,
        "departamento": place.departamento,
        "direccion_simple": simple,
        "direccion": f"{simple}, {place.departamento} - {place.provincia} - {place.distrito}",
    }


def citizen(dni: str) -> dict[str, object]:
    return {"success": True, "dni": dni, "nombre": person(dni)}


def rate(day: date) -> dict[str, object]:
    """Buying and selling price of the dollar: around 3.70 soles, a few thousandths more or less from day to day."""
    drift = _Dice(day.strftime("%Y-%W")).number("week", 160)
    buying = Decimal(3620 + drift + _Dice(day.isoformat()).number("day", 20)) / 1000
    spread = Decimal(4 + _Dice(day.isoformat()).number("spread", 8)) / 1000
    return {
        "success": True,
        "fecha": day.isoformat(),
        "moneda": "USD",
        "precio_compra": f"{buying:.3f}",
        "precio_venta": f"{buying + spread:.3f}",
    }


def rates(start: date, end: date) -> list[dict[str, object]]:
    return [rate(start + timedelta(days=offset)) for offset in range((end - start).days + 1)]


def representatives(ruc: str) -> list[Record]:
    """One to three for a company, none for a person."""
    dice = _Dice(ruc)
    count = 1 + dice.number("how many", 3) if ruc.startswith("20") else 0
    return [_representative(_Dice(f"{ruc}#{index}")) for index in range(count)]


def _representative(dice: _Dice) -> Record:
    dni = f"{dice.number('dni', 90_000_000) + 10_000_000:08d}"
    since = date(1995, 1, 1) + timedelta(days=dice.number("since", 10_000))
    return {
        "tipo_de_documento": "DNI",
        "numero_de_documento": dni,
        "nombre": person(dni),
        "cargo": dice.pick("post", _POSTS),
        "desde": since.isoformat(),
    }
