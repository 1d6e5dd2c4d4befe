"""What questions to judges that speak may cost: an account for each command, which ends by telling it."""

import contextlib
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from .console import note

if TYPE_CHECKING:
    from gym_vlmrm.reward.speaking.spending import Spending

__all__ = ["MaxQueries", "PricePerQuery"]


@contextlib.contextmanager
def _account(given: list[str]) -> "Iterator[Spending]":
    """Open an account, and say at the end what was asked, however the command ends."""
    from gym_vlmrm.errors import ModelError
    from gym_vlmrm.reward.speaking.spending import spending

    with contextlib.ExitStack() as opened:
        try:
            account = opened.enter_context(spending())
        except ModelError as error:
            raise typer.BadParameter(str(error)) from None
        try:
            yield account
        finally:
            if account.said is not None:
                note(account.said)
            elif given:
                note(f"no openai: model was asked, so {' and '.join(given)} counted for nothing")


def _of(context: typer.Context) -> "Spending":
    """Return the command's account."""
    if "account" not in context.meta:
        context.meta["account"] = context.with_resource(_account(context.meta.setdefault("paying", [])))
    account: Spending = context.meta["account"]
    return account


def _limit(context: typer.Context, most: int | None) -> int | None:
    if not context.resilient_parsing:  # a shell completes a word
        account = _of(context)
        account.max_queries = account.max_queries if most is None else most
        context.meta["paying"] += [] if most is None else ["--max-queries"]
    return most


def _price(context: typer.Context, price: float | None) -> float | None:
    if not context.resilient_parsing:
        if price is not None and not math.isfinite(price):
            raise typer.BadParameter(f"{price} is no price; give a number from 0 on")
        account = _of(context)
        account.price = account.price if price is None else price
        context.meta["paying"] += [] if price is None else ["--price-per-query"]
    return price


MaxQueries = Annotated[
    int | None,
    typer.Option(
        "--max-queries", metavar="N", min=0, callback=_limit,
        help="Most questions to an openai: model; 0 asks the cache alone.",
    ),
]  # fmt: skip
PricePerQuery = Annotated[
    float | None,
    typer.Option(
        "--price-per-query", metavar="X", min=0, callback=_price,
        help="Money for one question to an openai: model, to be told what was spent.",
    ),
]  # fmt: skip
