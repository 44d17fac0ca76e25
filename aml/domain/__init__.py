"""The words of the house: money, transactions, parties, findings, alerts. Pure: no files, no database, no clock."""
