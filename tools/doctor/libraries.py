"""Libraries: whether they are there, of which versions, and whether they work."""

import importlib.metadata
import sys
from collections.abc import Iterable, Iterator

from packaging.requirements import Requirement

from tools.doctor.finding import Finding, Status
from tools.doctor.trial import answer
from tools.probes import PROBES

DISTRIBUTION = "vrmm"
FOR_DEVELOPERS = "dev"


def check_library(name: str) -> Finding:
    """Import and use a library in a process of its own, so that one that crashes is named too."""
    probe = PROBES[name]
    detail, worked = answer([sys.executable, "-m", "tools.probes", name])
    if worked:
        return Finding(name=probe.title, status=Status.OK, detail=detail)
    status = Status.PROBLEM if probe.needed else Status.WARNING
    return Finding(name=probe.title, status=status, detail=detail, remedy=probe.remedy)


def check_versions() -> Finding:
    """Every library that vrmm needs is installed in a version that it was tested with."""
    name = "Library versions"
    try:
        wanted = list(requirements(""))
    except importlib.metadata.PackageNotFoundError:
        return Finding(
            name=name,
            status=Status.WARNING,
            detail="vrmm itself is not installed, so nobody knows which libraries it needs",
            remedy="make setup, or pip install -e . in a checkout",
        )
    wrong = {str(requirement): found for requirement in wanted if (found := unmet(requirement))}
    if not wrong:
        return Finding(name=name, status=Status.OK, detail=f"all {len(wanted)} as vrmm needs them")
    remedy = f"pip install {_quoted(wrong)}, or make setup"
    return Finding(name=name, status=Status.PROBLEM, detail="; ".join(wrong.values()), remedy=remedy)


def check_extras() -> Finding:
    """Libraries for single purposes. None is needed; one that is there must be of a version that works."""
    name = "Optional libraries"
    try:
        extras = importlib.metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or []
        parts = {extra: list(requirements(extra)) for extra in extras if extra != FOR_DEVELOPERS}
    except importlib.metadata.PackageNotFoundError:
        return Finding(name=name, status=Status.OK, detail="not known, as vrmm is not installed")
    parts = {extra: wanted for extra, wanted in parts.items() if wanted}
    absent = [extra for extra, wanted in parts.items() if not all(version(each) for each in wanted)]
    wrong = [text for wanted in parts.values() for each in wanted if version(each) and (text := unmet(each))]
    if wrong:
        spoilt = [extra for extra, wanted in parts.items() if any(unmet(each) in wrong for each in wanted)]
        return Finding(name=name, status=Status.WARNING, detail="; ".join(wrong), remedy=_install(spoilt))
    told = [f"{extra}: {', '.join(_told(each) for each in wanted)}" for extra, wanted in parts.items()]
    remedy = f"where you want them: {_install(absent)}" if absent else ""
    return Finding(name=name, status=Status.OK, detail="; ".join(told), remedy=remedy)


def _told(requirement: Requirement) -> str:
    found = version(requirement)
    return f"{requirement.name} {found}" if found else f"no {requirement.name}"


def requirements(extra: str) -> Iterator[Requirement]:
    """What the distribution needs on this machine: of an extra, or, where that is empty, always.

    Raises:
        importlib.metadata.PackageNotFoundError: it is not installed.
    """
    for text in importlib.metadata.requires(DISTRIBUTION) or []:
        requirement = Requirement(text)
        always = _applies(requirement, "")
        if always if not extra else _applies(requirement, extra) and not always:
            yield requirement


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _quoted(texts: Iterable[str]) -> str:
    return " ".join(f'"{text}"' for text in texts)


def version(requirement: Requirement) -> str:
    """Of the installed library; empty where there is none."""
    try:
        return importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def unmet(requirement: Requirement) -> str:
    """What is wrong with the installed library in a few words; empty where it is as required."""
    found = version(requirement)
    if not found:
        return f"{requirement.name} is missing"
    if requirement.specifier.contains(found, prereleases=True):
        return ""
    return f"{requirement.name} {found} is not {requirement.specifier}"


def _install(extras: list[str]) -> str:
    return " or ".join(f'pip install "vrmm[{extra}]"' for extra in extras)
