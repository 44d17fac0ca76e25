"""The detection engine: columns of accepted transactions in, findings and leg features out; pure and compiled."""
