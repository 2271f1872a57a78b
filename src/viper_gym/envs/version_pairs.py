"""Versions of simulators that are known not to work together, and how that is said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from typing import Literal, NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from viper_gym.errors import SimulatorUnavailable, ViperGymError


class KnownBad(NamedTuple):
    """Versions that do not work together although nothing forbids to install them."""

    packages: dict[str, str | None]  # name -> versions that are affected; None: not installed
    status: Literal["note", "problem"]
    why: str
    todo: str

    def applies(self, versions: Mapping[str, str | None]) -> bool:
        """Whether these versions (None: not installed) are such."""
        return all(_affected(versions.get(name), spec) for name, spec in self.packages.items())

    def pair(self, versions: Mapping[str, str | None]) -> str:
        """The versions in words."""
        return " with ".join(f"{n} {versions.get(n) or '(missing)'}" for n in self.packages)


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
        "a second environment (tested: mujoco 3.3.0): in a checkout `make test-robosuite` makes "
        "it, or pip install -c constraints-robosuite.txt '.[robosuite]'",
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


@contextmanager
def names_bad_versions(package: str) -> Iterator[None]:
    """Inside, what fails is blamed on versions of this package that are known to fail.

    Raises:
        SimulatorUnavailable: something failed, and such versions are installed; says what to
            install. Any other error stays what it is.
    """
    try:
        yield
    except ViperGymError:
        raise
    except Exception as error:
        pairs = [bad for bad in KNOWN_BAD if package in bad.packages and bad.status == "problem"]
        versions = installed([package, "mujoco", *(n for bad in pairs for n in bad.packages)])
        told = [(f"{b.pair(versions)}: {b.why}", b.todo) for b in pairs if b.applies(versions)]
        if package == "dm-control":
            told += asked_of_mujoco(versions)
        if not told:
            raise
        raise SimulatorUnavailable("; ".join(f"{why}. {todo}" for why, todo in told)) from error


def asked_of_mujoco(
    versions: Mapping[str, str | None], requires: Sequence[str] | None = None
) -> list[tuple[str, str]]:
    """What dm_control asks of mujoco and does not get, and what to do.

    Args:
        requires: what it asks for, as its metadata has it; None reads them.
    """
    lines = metadata.requires("dm-control") if requires is None else requires
    asked = [r for r in map(Requirement, lines or []) if r.name == "mujoco"]
    return [
        (
            f"dm_control {versions['dm-control']} asks for mujoco {r.specifier}, "
            f"{versions['mujoco']} is installed",
            'pip install "mujoco==3.16.0" "dm_control==1.0.49", or a second environment',
        )
        for r in asked
        if not r.specifier.contains(str(versions["mujoco"]), prereleases=True)
    ]


def installed(names: Sequence[str]) -> dict[str, str | None]:
    """Name -> version, None where a package is not installed."""
    found: dict[str, str | None] = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def _affected(version: str | None, specifier: str | None) -> bool:
    if version is None or specifier is None:
        return version is None and specifier is None
    return SpecifierSet(specifier).contains(version, prereleases=True)
