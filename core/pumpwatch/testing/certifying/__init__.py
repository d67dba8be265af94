"""Puts a driver to what lines and devices do wrong, and grades it: Bronze, Silver, Gold.

Everything is done to the driver over a real TCP connection, with the bytes of its own ``testcases/``. A rule that is
broken says where, and what to do about it.
"""

from pumpwatch.testing.certifying import calls, library, lines, papers  # noqa: F401 - they register their rules
from pumpwatch.testing.certifying.subject import RULES, Certificate, Grade, Subject, Verdict, certify

__all__ = ["RULES", "Certificate", "Grade", "Subject", "Verdict", "certify"]
