"""From findings to one alert score and its parts in words."""
