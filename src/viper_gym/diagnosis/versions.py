"""Versions: what this package asks for, and what of it is not so here."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib import metadata

from packaging.requirements import Requirement

from viper_gym.diagnosis.findings import Finding
from viper_gym.envs.version_pairs import KNOWN_BAD, asked_of_mujoco, installed

THIS = "viper-gym"
SHOWN = (
    THIS, "torch", "gymnasium", "numpy", "safetensors", "huggingface-hub", "tyro", "rich",
    "dm-control", "mujoco", "PyOpenGL", "glfw", "stable-baselines3", "ale-py", "metaworld",
    "robosuite", "shimmy", "imageio",
)  # fmt: skip
_NOT_FOR_USERS = {"dev", "all"}  # extras that are no feature of their own
_APART = {"robosuite"}  # extras that want an environment of their own


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
    return [
        Finding("versions", "problem", told, todo)
        for told, todo in asked_of_mujoco(versions, requires)
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
        if bad.applies(versions):
            told = f"{bad.pair(versions)}: {bad.why}"
            findings.append(Finding("versions", bad.status, told, bad.todo))
    offered = missing - _APART
    if versions.get("robosuite") is not None:  # and they would replace its mujoco
        offered -= {extra for r, extra in asked if r.name == "mujoco"}
    if offered:
        extras = ",".join(sorted(offered))
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
