"""What shards of other processes say of payments: trails, direct payers and the facts of the far end.

A payment's debit side decides its trails, its payers and what they say of its originator; the credit side, in which
segment the beneficiary counts. Each is taken over as it is told, in place of what was told before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from aml.engine.arrays import extended
from aml.engine.layout import I32, I64, NONE, TRAIL
from aml.engine.tables import kernel
from aml.engine.trails import same_trails

if TYPE_CHECKING:
    from aml.engine.engine import Engine


class News(NamedTuple):
    """By payment, as numbers of transactions. Of the debit side: its facts (segment, known days, `behind` of the TX
    record), its trails (dtype TRAIL, their `tx` as numbers) one after another with their counts, and its direct payers
    likewise. Of the credit side: the beneficiary's segment."""

    debit: I64
    segment: np.ndarray
    known: np.ndarray
    behind: np.ndarray
    n_trails: I64
    trails: np.ndarray
    n_payers: I64
    payers: I64
    credit: I64
    credit_segment: np.ndarray


class Heard(NamedTuple):
    """Rows of payments: whose news later payments may rest on, whose direct payers are others, and whose legs here
    have features that rest on what changed."""

    changed: I32
    newly: I32
    stale: I32


_NONE = np.zeros(0, np.int32)
NO_NEWS = Heard(_NONE, _NONE, _NONE)


def take_news(engine: Engine, news: News) -> Heard:
    """Write the news into the engine's books and records; returns what must be done about them."""
    transactions = engine.transactions
    tx = transactions.rows
    trails = news.trails.copy()
    used = np.arange(trails["tx"].shape[1]) < trails["n"][:, None]
    trails["tx"] = NONE
    trails["tx"][used] = transactions.places(news.trails["tx"][used])
    x, payers = transactions.places(news.debit), transactions.places(news.payers)
    use = engine.book_use
    books = engine.books
    engine.books = books._replace(
        trails=extended(books.trails, int(use[0]) + trails.size),
        payers=extended(books.payers, int(use[1]) + payers.size),
    )
    changed, newly, stale = (np.zeros(x.size, np.bool_) for _ in range(3))
    _take_debit(tx, engine.books, use, x, news, trails, payers, changed, newly, stale)
    y = transactions.places(news.credit)
    other = tx["credit_segment"][y] != news.credit_segment
    tx["credit_segment"][y] = news.credit_segment
    here = tx["credit_at"][x] != NONE  # what enters with the news is run anyway, and all that follows it
    return Heard(x[changed & here], x[newly & here], np.concatenate([x[stale & here], y[other]]))


@kernel
def _take_debit(tx: Any, books: Any, use: np.ndarray, x: np.ndarray, news: Any, trails: np.ndarray, payers: np.ndarray,
                changed: np.ndarray, newly: np.ndarray, stale: np.ndarray) -> None:
    """Replace what is known of the debit sides of payments x; note whose are others than before."""
    a, b = 0, 0
    for k in range(x.size):
        row = tx[x[k]]
        n, m = news.n_trails[k], news.n_payers[k]
        told = row.debit_segment != news.segment[k] or row.behind >> 6 != news.behind[k] >> 6
        changed[k] = told or row.debit_known != news.known[k]
        stale[k] = row.debit_segment != news.segment[k] or row.behind != news.behind[k]
        row.debit_segment, row.debit_known, row.behind = news.segment[k], news.known[k], news.behind[k]
        if not same_trails(books.trails, row.trails, row.n_trails, trails[a : a + n], n):
            changed[k] = True
            if n > row.n_trails:
                row.trails = use[0]
                use[0] += n
            for j in range(n):
                books.trails[row.trails + j] = trails[a + j]
        row.n_trails = n
        same = row.n_payers == m
        for j in range(m if same else 0):
            same = same and books.payers[row.payers + j] == payers[b + j]
        if not same:
            changed[k] = True
            newly[k] = True
            if m > row.n_payers:
                row.payers = use[1]
                use[1] += m
            for j in range(m):
                books.payers[row.payers + j] = payers[b + j]
        row.n_payers = m
        a += n
        b += m


def no_news() -> News:
    """Nothing."""
    none = np.zeros(0, np.int64)
    return News(none, none, none, none, none, np.zeros(0, TRAIL), none, none, none, none)


def trails_of(engine: Engine, rows: I32) -> tuple[np.ndarray, np.ndarray]:
    """Trails and direct payers of payments by row, one after another (their `tx` as rows)."""
    tx = engine.transactions.rows[rows]
    trails = engine.books.trails[_runs(tx["trails"], tx["n_trails"])]
    payers = engine.books.payers[_runs(tx["payers"], tx["n_payers"])]
    return trails, payers


def _runs(firsts: np.ndarray, numbers: np.ndarray) -> I64:
    """first[0] … first[0] + number[0] - 1, first[1] …"""
    first, number = firsts.astype(np.int64), numbers.astype(np.int64)
    ends = np.cumsum(number)
    total = int(ends[-1]) if ends.size else 0
    return np.repeat(first - (ends - number), number) + np.arange(total)
