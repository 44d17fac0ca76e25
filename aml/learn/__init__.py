"""Anomaly models: learned from unlabelled history on the engine's own leg features, scored by compiled look-ups."""
