"""A driver's complaint becomes one line with its mend; our own defects are never dressed up as the user's."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

from aml.domain.errors import AmlError
from aml.store.failures import failure, will_pass


def test_a_known_complaint_says_the_mend_on_one_line():
    given = failure(
        "sqlite:///a.db", OperationalError("INSERT", None, sqlite3.OperationalError("database is locked\nx"))
    )
    assert isinstance(given, AmlError)
    assert str(given) == (
        "database sqlite:///a.db: another program is writing to it: wait for that to end and run again "
        "(database is locked)"
    )


def test_a_lack_of_rights_is_the_users_to_mend():
    given = failure("x", ProgrammingError("INSERT", None, Exception("permission denied for table alerts")))
    assert "this user may not do that" in str(given)


def test_our_own_defects_pass_whatever_their_words():
    for kind in (IntegrityError, ProgrammingError):
        error = kind("INSERT", None, Exception('Key (id)=(connection) "x" does not exist'))
        assert failure("x", error) is error


def test_what_waiting_mends_is_told_by_the_servers_code():
    """A row that is too large for an index would be tried again for ever."""
    for code, passes in (("54000", False), ("53100", True), ("40P01", True), ("57P01", True)):
        said = type("Said", (Exception,), {"sqlstate": code})("index row size 8072 exceeds btree maximum")
        assert will_pass(OperationalError("INSERT", None, said)) is passes
