"""Orders, stock and a customer by durable messages: nothing is lost, nothing is done twice.

python examples/orders.py [STORE]    (kill it, start it again: what was on its way arrives, once)
"""

from __future__ import annotations

import sys
import threading

from torpor import Agent, MessageDelivered, Runtime


class Order(Agent):
    """One order. What it sends leaves if, and only if, its own change is saved."""

    status: str = "new"

    def place(self, item: str, count: int) -> None:
        """Ask the stock for goods."""
        if self.status == "new":
            self.status = "placed"
            self.runtime.get(Stock, item).send(Stock.take, self.id, count)

    def confirm(self, *, taken: bool) -> None:
        """Take the stock's answer."""
        self.status = "confirmed" if taken else "sold out"
        self.runtime.get(Customer, "ada").send(Customer.read, f"{self.id} is {self.status}")


class Stock(Agent):
    """How much is left of one item."""

    left: int = 5

    def take(self, order: str, count: int) -> None:
        """Take goods if there are enough, and answer the order either way."""
        taken = count <= self.left
        self.left -= count if taken else 0
        self.runtime.get(Order, order).send(Order.confirm, taken=taken)


class Customer(Agent):
    """Reads mail."""

    inbox: list[str] = []  # noqa: RUF012 - pydantic gives each agent a copy

    def read(self, text: str) -> None:
        """Keep a message."""
        self.inbox.append(text)

    def mail(self) -> list[str]:
        """Return all messages, sorted."""
        return sorted(self.inbox)


def main(store: str = "orders.db") -> None:
    """Send three orders from outside of any agent; wait until the customer has three answers."""
    news, numbers = threading.Semaphore(0), range(1, 4)
    with Runtime(f"sqlite:///{store}", agents=[Order, Stock, Customer]) as runtime:
        runtime.listen(lambda _: news.release(), MessageDelivered)
        for number in numbers:
            order = runtime.get(Order, f"order {number}")
            # On disk when it returns. With an id of its own it is applied once if sent again.
            order.options(message_id=f"place {number}").send(Order.place, "lamp", 2)
        customer = runtime.get(Customer, "ada")
        while len(customer.ask(Customer.mail)) < len(numbers):
            news.acquire(timeout=1)
        print("\n".join(customer.ask(Customer.mail)))


if __name__ == "__main__":
    main(*sys.argv[1:])
