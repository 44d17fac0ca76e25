"""Rules: files of content turned into detectors for the engine."""
