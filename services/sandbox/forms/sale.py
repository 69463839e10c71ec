"""What a payload tells of, for the forms that tell it in their own words."""

import msgspec


class Customer(msgspec.Struct, frozen=True):
    name: str = "Ninguém"
    email: str = "ninguem@example.com"


class Product(msgspec.Struct, frozen=True):
    id: str = "prod_0"
    name: str = "Nada"
    quantity: int = 1


class Payment(msgspec.Struct, frozen=True):
    method: str = "pix"
    installments: int = 1


class Sale(msgspec.Struct, frozen=True, rename="camel"):
    """Whatever the payload lacks, or has in another form, is made up."""

    event_type: str = "unknown"
    total: float = 0
    customer: Customer = Customer()
    product: Product = Product()
    payment: Payment = Payment()

    @property
    def cents(self) -> int:
        return round(self.total * 100)

    @property
    def amount(self) -> str:
        return f"{self.cents // 100}.{self.cents % 100:02}"


def sale(payload: bytes) -> Sale:
    try:
        return msgspec.json.decode(payload, type=Sale)
    except msgspec.DecodeError:
        return Sale()
