"""Outside formats to canonical transactions: formats, mapping, validation, conversion, public sets, a simulator."""
