"""Read OSCAL assessment results with compliance-trestle, whose Python runs this: tells of each file what is wrong or what it says."""

import json
import logging
import sys
from pathlib import Path
from typing import Any

from trestle.core.validator_factory import validator_factory
from trestle.oscal.assessment_results import AssessmentResults


def read(path: Path) -> dict[str, Any]:
    try:
        document = AssessmentResults.oscal_read(path)
    except Exception as error:  # noqa: BLE001 - whatever it is, the file was refused
        return {"problem": str(error)[:1000] or type(error).__name__}
    if document is None:
        return {"problem": "there is none"}
    for name in validator_factory.get_all():
        if not name.model_is_valid(document, quiet=True):
            return {"problem": name.error_msg()}
    own = {"observations": [], "findings": []}
    for result in document.results:
        own["observations"] += [said(o.props) for o in result.observations or ()]
        own["findings"] += [(said(f.props), f.target.status.state.value, f.target.status.reason) for f in result.findings or ()]
    return own


def said(props: Any) -> str:
    return next(p.value for p in props if p.name == "status")


logging.disable()
print(json.dumps({p: read(Path(p)) for p in sys.argv[1:]}, default=lambda v: getattr(v, "root", str(v))))
