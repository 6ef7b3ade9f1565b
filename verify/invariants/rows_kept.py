"""Rows kept: what was put into the tables and left alone is still there, with its server."""

from functools import partial

from verify.history import History, Stock
from verify.invariants.invariant import Invariant, Tally, count, seconds
from verify.verdict import Result, Violation

NAME = "rows-kept"


def _judge(history: History) -> Result:
    """Judges each balancer's rows; what is missing or moved is one violation, however many rows that are."""
    tally = Tally()
    lost = put = 0
    for stock in history.stocks:
        put += stock.put
        lost += stock.put - stock.kept
        if stock.kept == stock.put:
            tally.judged += 1
        else:
            tally.violate(stock.at_ns, 0, partial(_lost, stock))
    summary = f"{lost} of {count(put, 'row')} that nobody asked for lost or bound to another server"
    return tally.result(NAME, summary, None if history.stocks else "no row was put into the tables")


def _lost(stock: Stock) -> Violation:
    missing = stock.put - stock.kept - stock.moved
    return Violation(
        text=(
            f"of {count(stock.put, 'row')} that were put into the table, {stock.balancer} has {stock.kept} with their"
            f" server, {stock.moved} with another one, and {missing} not at all ({seconds(stock.at_ns)})"
        )
    )


INVARIANT = Invariant(NAME, "Every row that was put into the tables is there at the end, with its server.", _judge)
