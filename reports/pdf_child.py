"""Turns a page into a PDF in a process of its own: reads HTML from standard input, writes the PDF to standard output.

Run as a file (``python -P pdf_child.py MEMORY CPU IDENTIFIER``), so that nothing but this file and WeasyPrint is loaded.
MEMORY is a limit in bytes, CPU one in seconds. Whatever goes wrong is one line on standard error and exit code 3.
"""

from __future__ import annotations

import gc
import resource
import sys
from pathlib import Path
from typing import Any

ASSETS = Path(__file__).parent / "assets"
#: A process that came within so many bytes of its limit failed for want of memory: no single request is larger.
NEAR = 32 << 20
#: Everything that a page may load.
ALLOWED = {
    "asset:pdf.css": "text/css",
    "asset:fonts/IBMPlexSans-Regular.woff": "font/woff",
    "asset:fonts/IBMPlexSans-SemiBold.woff": "font/woff",
    "asset:fonts/IBMPlexMono-Regular.woff": "font/woff",
}


def limit(memory: int, cpu: int) -> None:
    """Bind this process to so many bytes of address space and so many seconds of CPU, and let it write no core and no file."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def exhausted(memory: int) -> bool:
    """Tell whether this process came so near its limit that a failure is one of memory.

    Extension modules and Python itself report an allocation that failed in other words too, such as SystemError.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    peak = next((int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmPeak:")), 0)
    return peak > memory - NEAR


def render(html: str, identifier: bytes) -> bytes:
    """Return the PDF of a page. Raises what WeasyPrint raises; a page that asks for anything but packaged assets is refused."""
    import weasyprint  # the limits stand first
    from weasyprint.urls import FatalURLFetchingError, URLFetcher, URLFetcherResponse

    class Packaged(URLFetcher):  # type: ignore[misc]
        def fetch(self, url: str, headers: Any = None) -> Any:  # noqa: ARG002 - the library's signature
            kind = ALLOWED.get(url)
            if kind is None:
                raise FatalURLFetchingError(f"the page asks for {url[:200]!r}, which is no packaged asset")
            return URLFetcherResponse(url, (ASSETS / url.removeprefix("asset:")).read_bytes(), {"Content-Type": kind})

    document = weasyprint.HTML(string=html, base_url="asset:", url_fetcher=Packaged())
    pdf = document.write_pdf(pdf_variant="pdf/ua-1", pdf_identifier=identifier)
    assert isinstance(pdf, bytes)
    return pdf


def main() -> int:
    """Render standard input to standard output."""
    memory, cpu, identifier = sys.argv[1:4]
    limit(int(memory), int(cpu))
    gc.set_threshold(200_000, 20, 100)  # layout makes many objects and few cycles: collecting often costs a tenth of the time
    try:
        pdf = render(sys.stdin.buffer.read().decode("utf-8"), identifier.encode())
    except BaseException as error:  # noqa: BLE001 - the parent gets one line, whatever it was
        # A library that could not be mapped is named by ImportError or OSError, whatever the cause.
        if isinstance(error, MemoryError) or exhausted(int(memory)):
            print(f"it can't allocate more than {int(memory) >> 20} MiB of memory", file=sys.stderr)
        elif isinstance(error, ImportError | OSError):
            said = " ".join(str(error).split())[:300]
            print(f"WeasyPrint can't be loaded ({said}); it needs the system library Pango", file=sys.stderr)
        else:
            print(f"{type(error).__name__}: {' '.join(str(error).split())[:500]}", file=sys.stderr)
        return 3
    sys.stdout.buffer.write(pdf)
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
