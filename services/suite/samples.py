"""Made-up events in Grapfy's form, the same for the same seed: for the demo, the tests and the benchmarks."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec

FIRST_NAMES = (
    "Ana Bruno Célia Davi Érica Fábio Glória Heitor Inês João Lívia Mário Núbia Otávio Pérola Raí Sílvia Tomé Vânia"
)
LAST_NAMES = (
    "Araújo Brandão Conceição Dourado Espírito Falcão Galvão Jordão Leitão Magalhães Napoleão Peçanha Simões Távora"
)
_PRODUCTS = (
    "Curso de Violão", "Mentoria Café & Código", "E-book «Pão de Fermentação Natural»", "Oficina de Cerâmica",
    "Assinatura Horta Urbana", "Curso de Fotografia: Módulo 2", 'Pôster 30"×40"', "Planilha de Orçamento",
)  # fmt: skip
_TYPES = ("order_approved",) * 5 + ("pix_created",) * 4 + ("lead_created",) * 2 + ("order_refunded", "cart_abandoned")
_UTM_SOURCES = ("instagram", "google", "newsletter", "youtube", "indicação")
_START = datetime(2026, 10, 1, tzinfo=UTC)


def grapfy_payloads(count: int, seed: int = 1, first: int = 0) -> Iterator[bytes]:
    """`count` payloads, numbered from `first`: each an event of its own, about 510 bytes."""
    rng = random.Random(f"{seed}/{first}")  # noqa: S311  # made-up data, nothing secret
    first_names, last_names = FIRST_NAMES.split(), LAST_NAMES.split()
    for number in range(first, first + count):
        name = f"{rng.choice(first_names)} {rng.choice(last_names)}"
        product = rng.randrange(len(_PRODUCTS))
        created = _START + timedelta(seconds=number * 7 + rng.randrange(7), milliseconds=rng.randrange(1000))
        yield msgspec.json.encode(
            {
                "eventId": f"evt_{seed}_{number:08}",
                "eventType": rng.choice(_TYPES),
                "storeId": f"store_{rng.randrange(4)}",
                "orderId": f"ord_{number // 2:08}",
                "total": rng.randrange(990, 199_900) / 100,
                "currency": "BRL",
                "customer": {
                    "name": name,
                    "email": f"cliente{number}@example.com",
                    "phoneNumber": f"+55119{rng.randrange(10**8):08}",
                    "document": f"{rng.randrange(10**11):011}",
                },
                "product": {"id": f"prod_{product}", "name": _PRODUCTS[product], "quantity": rng.randint(1, 3)},
                "plan": {"id": f"plan_{product % 3}", "name": ("Mensal", "Anual", "Único")[product % 3]},
                "payment": {"method": rng.choice(("pix", "card", "boleto")), "installments": rng.randint(1, 12)},
                "utm": {"source": rng.choice(_UTM_SOURCES), "campaign": f"campanha_{rng.randrange(50)}"},
                "createdAt": created.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            }
        )
