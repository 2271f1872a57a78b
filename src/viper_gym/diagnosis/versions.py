"""Versions: what this package asks for, and pairs that are known not to work together."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from viper_gym.diagnosis.findings import Finding, Status

THIS = "viper-gym"
SHOWN = (
    THIS, "torch", "gymnasium", "numpy", "safetensors", "huggingface-hub", "tyro", "rich",
    "dm-control", "mujoco", "PyOpenGL", "glfw", "stable-baselines3", "ale-py", "metaworld",
    "shimmy", "imageio",
)  # fmt: skip
_NOT_FOR_USERS = {"dev", "all"}  # extras that are no feature of their own
_APART = {"robosuite"}  # extras that want an environment of their own


class KnownBad(NamedTuple):
    """Versions that do not work together although nothing forbids to install them."""

    packages: dict[str, str | None]  # name -> versions that are affected; None: not installed
    status: Status
    why: str
    todo: str


KNOWN_BAD = (
    KnownBad(
        {"dm-control": "<=1.0.50", "mujoco": ">=4"},
        "problem",
        "dm_control can load no task ('MjModel' object has no attribute 'flex_vertedge')",
        'pip install "mujoco<4"',
    ),
    KnownBad(
        {"gymnasium": "<1"},
        "problem",
        "gymnasium before 1.0 has other vector environments and no autoreset modes",
        'pip install -U "gymnasium>=1.1,<2"',
    ),
    KnownBad(
        {"stable-baselines3": "<2.4", "gymnasium": ">=1"},
        "problem",
        "this Stable-Baselines3 was made for gymnasium 0.29",
        'pip install -U "stable-baselines3>=2.4"',
    ),
    KnownBad(
        {"gymnasium": ">=1,<1.4"},
        "note",
        "RecordEpisodeStatistics and NormalizeReward miscount vector environments that reset in "
        "the same step",
        'pip install -U "gymnasium>=1.4", or use the next-step autoreset mode (the default)',
    ),
    KnownBad(
        {"metaworld": "<=3.1.1", "mujoco": ">=3.17"},
        "problem",
        "Meta-World cannot be reset (weld constraints have another size from mujoco 3.17 on)",
        'pip install "mujoco==3.16.0" "dm_control==1.0.49"',
    ),
    KnownBad(
        {"robosuite": "<=1.5.2", "mujoco": ">=3.10"},
        "problem",
        "robosuite cannot build its models (mj_fullM takes other arguments from mujoco 3.10 on)",
        'a second environment: pip install "viper-gym[robosuite]" (tested: mujoco 3.3.0)',
    ),
    KnownBad(
        {"robosuite": "<=1.5.2", "numpy": ">=2"},
        "note",
        "robosuite asks for numpy below 2",
        'pip install "numpy==1.26.4", or a second environment',
    ),
    KnownBad(
        {"shimmy": "", "dm-control": "", "imageio": None},
        "note",
        "`import shimmy` fails beside dm_control where imageio is missing",
        "pip install imageio",
    ),
)


def installed(names: Sequence[str]) -> dict[str, str | None]:
    """Name -> version, None where a package is not installed."""
    found: dict[str, str | None] = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def check() -> list[Finding]:
    """Look at what is installed here."""
    try:
        requirements = [Requirement(line) for line in metadata.requires(THIS) or []]
    except metadata.PackageNotFoundError:
        requirements = []
    names = {*SHOWN, *(r.name for r in requirements), *(n for k in KNOWN_BAD for n in k.packages)}
    versions = installed(sorted(names))
    shown = ", ".join(f"{name} {versions[name]}" for name in SHOWN if versions[name])
    system = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    findings = [Finding("versions", "ok", f"{system}: {shown}")]
    if not requirements:
        findings.append(
            Finding(
                "versions",
                "note",
                f"{THIS} is imported from its sources: its requirements are unknown",
                "pip install -e .",
            )
        )
    return [*findings, *judge(versions, requirements), *judge_dm_control(versions)]


def judge_dm_control(
    versions: Mapping[str, str | None], requires: Sequence[str] | None = None
) -> list[Finding]:
    """Each dm_control wants the mujoco of its day, which another package may have replaced.

    Args:
        requires: what it asks for, as its metadata has it; None reads them.
    """
    if versions.get("dm-control") is None or versions.get("mujoco") is None:
        return []
    lines = metadata.requires("dm-control") if requires is None else requires
    asked = [r for r in map(Requirement, lines or []) if r.name == "mujoco"]
    return [
        Finding(
            "versions",
            "problem",
            f"dm_control {versions['dm-control']} asks for mujoco {r.specifier}, "
            f"{versions['mujoco']} is installed",
            'pip install "mujoco==3.16.0" "dm_control==1.0.49", or a second environment',
        )
        for r in asked
        if not r.specifier.contains(str(versions["mujoco"]), prereleases=True)
    ]


def judge(versions: Mapping[str, str | None], requirements: Sequence[Requirement]) -> list[Finding]:
    """Compare versions (None: not installed) with the ranges asked for and the known bad pairs."""
    findings: list[Finding] = []
    asked = [(r, _extra(r)) for r in requirements if r.name != THIS and _applies(r)]
    missing = {extra for r, extra in asked if extra and versions.get(r.name) is None}
    for requirement, extra in asked:
        if extra in missing:
            continue  # what is not installed sets no ranges for what is
        version = versions.get(requirement.name)
        line = f'pip install -U "{requirement.name}{requirement.specifier}"'
        if version is None:
            findings.append(Finding("versions", "problem", f"{requirement.name} is missing", line))
        elif not requirement.specifier.contains(version, prereleases=True):
            found = (
                f"{requirement.name} {version} is installed, {requirement.specifier} is asked for"
            )
            findings.append(Finding("versions", "problem", found, line))
    for bad in KNOWN_BAD:
        if all(_affected(versions.get(name), spec) for name, spec in bad.packages.items()):
            pair = " with ".join(f"{n} {versions.get(n) or '(missing)'}" for n in bad.packages)
            findings.append(Finding("versions", bad.status, f"{pair}: {bad.why}", bad.todo))
    if missing - _APART:
        extras = ",".join(sorted(missing - _APART))
        findings.append(
            Finding(
                "versions",
                "note",
                f"optional parts that are not installed: {extras}",
                f'if you need them: pip install "{THIS}[{extras}]"',
            )
        )
    return findings


def _applies(requirement: Requirement) -> bool:
    """Not for another Python or system, nor of an extra that is no feature of its own."""
    extra, marker = _extra(requirement), requirement.marker
    return extra not in _NOT_FOR_USERS and (not marker or marker.evaluate({"extra": extra or ""}))


def _extra(requirement: Requirement) -> str | None:
    """The extra that brings a requirement, None where it always applies."""
    text = str(requirement.marker or "")
    return text.split("extra ==")[1].strip().strip("\"'") if "extra ==" in text else None


def _affected(version: str | None, specifier: str | None) -> bool:
    if version is None or specifier is None:
        return version is None and specifier is None
    return SpecifierSet(specifier).contains(version, prereleases=True)
