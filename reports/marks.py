"""The marks of waivers and attestations in words."""

from __future__ import annotations

from collections.abc import Mapping

from auditor.registers import AttestationEntry, AttestationMark, WaiverEntry, WaiverMark

Entries = Mapping[str, WaiverEntry | AttestationEntry]


def word(waiver: WaiverMark | None, attestation: AttestationMark | None) -> str:
    """Return a mark in a word or two; empty for none."""
    if waiver is not None:
        return "waived" if waiver.complete else "waived in part"
    return f"attested {attestation.verdict}" if attestation is not None else ""


def ids(waiver: WaiverMark | None, attestation: AttestationMark | None) -> tuple[str, ...]:
    """Return the ids, in the run's registers, of what makes a mark."""
    if waiver is not None:
        return waiver.waivers
    return (attestation.attestation,) if attestation is not None else ()


def sentence(waiver: WaiverMark | None, attestation: AttestationMark | None, entries: Entries) -> str:
    """Return a mark with what the registers' ``entries`` say of it; empty for none."""
    parts = []
    for identity in ids(waiver, attestation):
        entry = entries.get(identity)
        if isinstance(entry, WaiverEntry):
            parts.append(f"{identity}: {entry.reason} (owner {entry.owner}, expires {entry.expires})")
        elif entry is not None:
            parts.append(f"{identity}: {entry.statement} ({entry.by}, {entry.at}, expires {entry.expires})")
        else:
            parts.append(identity)
    if waiver is not None and not waiver.complete:
        parts.append(f"covers {', '.join(waiver.subjects)} alone, so the failure stands")
    return f"{word(waiver, attestation).capitalize()} by {'; '.join(parts)}" if parts else ""
