"""The tailoring file: what a site decides differently from the benchmarks' defaults, and why.

```yaml
tailoring: 1
parameters:
  docker-trusted-users: {trusted: [alice, bob]}
```
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

import yaml

from auditor.catalogue import Library
from auditor.yamlfile import Decoder, compose, did_you_mean, read_text

VERSION = "1"


@dataclass(frozen=True, slots=True)
class Tailoring:
    """A tailoring file as it was read: parameter values by control, still as nodes that know their place."""

    name: str
    sha256: str
    parameters: dict[str, yaml.Node]

    def apply(self, library: Library) -> Library:
        """Return the library with these parameters in force; raises `InputError` for a control that isn't there."""
        decoder = Decoder(self.name)
        for key, node in self.parameters.items():
            if key not in library.definitions:
                decoder.fail(node, f"there is no control {key!r}{did_you_mean(key, library.definitions)}")
        decoder.finish()
        return dataclasses.replace(library, tailored=self.parameters)


def load(path: Path) -> Tailoring:
    """Read a tailoring file; raises `InputError` with every mistake that can be seen without the benchmarks."""
    text = read_text(path)
    root = compose(text, str(path))
    decoder = Decoder(str(path))
    entries = decoder.items(root)
    for name in entries.keys() - {"tailoring", "parameters"}:
        decoder.fail(entries[name][0], f"there is no key {name!r} here{did_you_mean(name, ('tailoring', 'parameters'))}")
    if "tailoring" not in entries:
        decoder.fail(root, "the key 'tailoring' is missing: it is the version of the format, 1")
    elif str(entries["tailoring"][1].value) != VERSION:
        decoder.fail(entries["tailoring"][1], f"this program reads tailoring files of version {VERSION}")
    parameters: dict[str, yaml.Node] = {}
    if "parameters" in entries:
        for key, (_, node) in decoder.items(entries["parameters"][1]).items():
            decoder.items(node, "a mapping of parameters")
            parameters[key] = node
    decoder.finish()
    return Tailoring(str(path), hashlib.sha256(text.encode()).hexdigest(), parameters)
