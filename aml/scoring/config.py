"""`rules/scoring.toml` as a checked, frozen value: points, bands, caps and queues."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aml.domain.alert import Band
from aml.domain.errors import AmlError
from aml.domain.finding import Family, Severity, Subject, SubjectKind

_SECTIONS = {"version", "severity", "alert", "bands", "link", "family", "model", "queues"}
_ROUTE_FIELDS = {"queue", "institution", "family", "typology", "subject_kind"}


@dataclass(frozen=True, slots=True)
class Route:
    """Findings whose named fields all fit belong to `queue`; None fits everything."""

    queue: str
    institution: str | None = None
    family: Family | None = None
    typology: str | None = None
    subject_kind: SubjectKind | None = None

    def fits(self, subject: Subject, family: Family, typology: str) -> bool:
        """Whether a finding of this family and typology about this subject goes here."""
        return (
            self.institution in (None, subject.institution)
            and self.subject_kind in (None, subject.kind)
            and self.family in (None, family)
            and self.typology in (None, typology)
        )


@dataclass(frozen=True, slots=True)
class ScoringConfig:
    """The scoring in force. Points are integers; `text` and `sha256` are the file it was read from."""

    version: int
    severity_points: Mapping[Severity, int]
    threshold: int
    weeks: int
    bands: Mapping[Band, int]
    half: int
    others_divisor: int
    model_cap_percent: int
    opening_quantile: float
    supporting_quantile: float
    opening_known_days: int
    model_weights: Mapping[str, int]
    default_queue: str
    routes: tuple[Route, ...]
    text: str
    sha256: str

    @property
    def model_cap(self) -> int:
        """The most points that all models together add."""
        return self.bands[Band.CRITICAL] * self.model_cap_percent // 100

    def points_of(self, severity: Severity, steps: int) -> int:
        """Points of a finding of this severity at `steps` steps (1 or more)."""
        return self.severity_points[severity] * steps

    def model_opens(self, tail: float, known_days: int) -> bool:
        """Whether a leg opens an alert on the models' word alone: a share `tail` of the training legs is as strange,
        and its holder has been known for so many days. Of one just met everything is new and nothing usual."""
        return tail <= self.opening_quantile and known_days >= self.opening_known_days

    def link(self, points: float) -> float:
        """Points as a score 0..1, unrounded, strictly rising: points / (points + half)."""
        return points / (points + self.half)

    def band_of(self, points: int) -> Band:
        """The highest band whose bound the points reach."""
        return max((band for band in Band if self.bands[band] <= points), key=lambda band: self.bands[band])

    def queue_of(self, subject: Subject, family: Family, typology: str) -> str:
        """The queue of an alert with such a finding."""
        return next((r.queue for r in self.routes if r.fits(subject, family, typology)), self.default_queue)

    def problem_of_opening(self, severity: Severity) -> str | None:
        """Why a rule of this severity must not open alerts: one step of it stays below the threshold; else None."""
        points = self.points_of(severity, 1)
        if points >= self.threshold:
            return None
        return (
            f"severity {severity.value!r} gives {points} points a step, below the alert threshold of {self.threshold}: "
            "raise the severity or set opens = false"
        )


def parse_scoring(text: str, name: str = "scoring.toml") -> ScoringConfig:
    """Read the text of `scoring.toml`.

    Raises AmlError that names the file, the key and what it must be.
    """
    return _Reader(text, name).config()


class _Reader:
    """Takes the file apart key by key, so that each error can name its key."""

    def __init__(self, text: str, name: str) -> None:
        self.text, self.name = text, name
        try:
            self.table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise AmlError(f"{name}: not valid TOML: {error}") from error

    def config(self) -> ScoringConfig:
        self._only_keys(self.table, _SECTIONS, "")
        config = ScoringConfig(
            version=self._int(self.table, "version", ""),
            severity_points={s: self._int(self._section("severity"), s.value, "severity") for s in Severity},
            threshold=self._int(self._section("alert"), "threshold", "alert"),
            weeks=self._int(self._section("alert"), "weeks", "alert"),
            bands={b: self._int(self._section("bands"), b.value, "bands", least=0) for b in Band},
            half=self._int(self._section("link"), "half", "link"),
            others_divisor=self._int(self._section("family"), "others_divisor", "family"),
            model_cap_percent=self._int(self._section("model"), "cap_percent", "model"),
            opening_quantile=self._quantile("opening_quantile"),
            supporting_quantile=self._quantile("supporting_quantile"),
            opening_known_days=self._int(self._section("model"), "opening_known_days", "model", least=0),
            model_weights=self._weights(),
            default_queue=self._text(self._section("queues"), "default", "queues"),
            routes=self._routes(),
            text=self.text,
            sha256=hashlib.sha256(self.text.encode()).hexdigest(),
        )
        self._check_keys()
        self._check_order(config)
        return config

    def _check_keys(self) -> None:
        known = {
            "severity": {s.value for s in Severity},
            "alert": {"threshold", "weeks"},
            "bands": {b.value for b in Band},
            "link": {"half"},
            "family": {"others_divisor"},
            "model": {"cap_percent", "opening_quantile", "supporting_quantile", "opening_known_days", "weights"},
            "queues": {"default", "routes"},
        }
        for section, keys in known.items():
            self._only_keys(self._section(section), keys, section)

    def _check_order(self, config: ScoringConfig) -> None:
        bounds = [config.bands[band] for band in Band]
        if bounds != sorted(set(bounds)) or bounds[0] != 0:
            raise self._error("bands", "bounds must begin at 0 and rise from low to critical")
        if config.supporting_quantile < config.opening_quantile:
            raise self._error("model.supporting_quantile", "must not be below opening_quantile")
        points = [config.severity_points[severity] for severity in Severity]
        if points != sorted(points):
            raise self._error("severity", "points must not fall from informational to critical")
        if not config.threshold <= config.model_cap < config.bands[Band.HIGH]:
            raise self._error(
                "model.cap_percent",
                f"gives {config.model_cap} points, which must lie from the threshold {config.threshold} "
                f"to below the high bound {config.bands[Band.HIGH]}",
            )

    def _error(self, key: str, what: str) -> AmlError:
        return AmlError(f"{self.name}: {key}: {what}")

    def _only_keys(self, table: Mapping[str, Any], allowed: set[str], section: str) -> None:
        for key in table:
            if key not in allowed:
                place = f"{section}.{key}" if section else key
                raise self._error(place, f"unknown key; allowed: {', '.join(sorted(allowed))}")

    def _section(self, key: str) -> dict[str, Any]:
        value = self.table.get(key)
        if not isinstance(value, dict):
            raise self._error(key, "section missing")
        return value

    def _int(self, table: Mapping[str, Any], key: str, section: str, least: int = 1) -> int:
        value = table.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self._error(f"{section}.{key}" if section else key, f"must be a whole number of {least} or more")
        return value

    def _text(self, table: Mapping[str, Any], key: str, section: str) -> str:
        value = table.get(key)
        if not isinstance(value, str) or not value:
            raise self._error(f"{section}.{key}", "must be a text")
        return value

    def _quantile(self, key: str) -> float:
        value = self._section("model").get(key)
        if not isinstance(value, float) or not 0 < value < 1:
            raise self._error(f"model.{key}", "must lie between 0 and 1, as in 0.00001")
        return value

    def _weights(self) -> dict[str, int]:
        weights = self._section("model").get("weights")
        if not isinstance(weights, dict):
            raise self._error("model.weights", "section missing")
        return {name: self._int(weights, name, "model.weights", least=0) for name in sorted(weights)}

    def _routes(self) -> tuple[Route, ...]:
        routes = self._section("queues").get("routes", [])
        return tuple(self._route(route, f"queues.routes[{i}]") for i, route in enumerate(routes, start=1))

    def _route(self, route: Mapping[str, Any], place: str) -> Route:
        self._only_keys(route, _ROUTE_FIELDS, place)
        optional = {key: self._text(route, key, place) for key in sorted(_ROUTE_FIELDS - {"queue"}) if key in route}
        try:
            return Route(
                queue=self._text(route, "queue", place),
                institution=optional.get("institution"),
                family=Family(optional["family"]) if "family" in optional else None,
                typology=optional.get("typology"),
                subject_kind=SubjectKind(optional["subject_kind"]) if "subject_kind" in optional else None,
            )
        except ValueError as error:
            raise self._error(place, str(error)) from error
