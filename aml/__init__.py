"""Open anti-money-laundering transaction monitor: payments in, explained alerts out."""

__version__ = "0.1.0"
