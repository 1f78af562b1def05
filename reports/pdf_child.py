"""Turns a page into a PDF in a process of its own: reads HTML from standard input, writes the PDF to standard output.

Run as a file (``python -P pdf_child.py MEMORY CPU IDENTIFIER``), so that nothing but this file and WeasyPrint is loaded.
MEMORY is a limit in bytes, CPU one in seconds. Whatever goes wrong is one line on standard error and exit code 3.

``python -P pdf_child.py MEMORY CPU serve CLOCK`` lays out one page after another, each in a fork with these limits and one of CLOCK
seconds, so that the libraries are loaded once. It reads an identifier (32 bytes), a length (16 digits) and so much HTML; it answers
with exit code and two lengths (16 digits each), the PDF, and what was said on standard error.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import resource
import signal
import sys
import zlib
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

ASSETS = Path(__file__).parent / "assets"
#: A process that came within so many bytes of its limit failed for want of memory: no single request is larger.
NEAR = 32 << 20
PR_SET_PDEATHSIG = 1
#: What of fontTools is loaded when it is used.
LATE = ("fontTools.subset", "fontTools.varLib.instancer")
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


def end_with_parent() -> None:
    """Have this process killed when the thread that waits for it is gone: nobody would take its PDF (prctl(2), of Linux alone)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def exhausted(memory: int) -> bool:
    """Tell whether this process came so near its limit that a failure is one of memory.

    Extension modules and Python itself report an allocation that failed in other words too, such as SystemError.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    peak = next((int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmPeak:")), 0)
    return peak > memory - NEAR


class Late(ModuleType):
    """Stands for a module of functions and classes that is loaded when one of them is called, if ever."""

    def __getattr__(self, name: str) -> Any:
        """Return what loads the module and calls ``name`` of it."""
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*args: Any, **options: Any) -> Any:
            if sys.modules.get(self.__name__) is self:
                del sys.modules[self.__name__]
            return getattr(import_module(self.__name__), name)(*args, **options)

        return call


def load() -> ModuleType:
    """Return WeasyPrint, loaded without what takes as long as a third of a short document. Raises what it raises.

    On Linux it tries names that only other systems know first, and for each of them Python runs gcc, ld and ldconfig. The parts of
    fontTools are for variable fonts, and for systems without HarfBuzz's subsets.
    """
    for name in LATE:
        sys.modules.setdefault(name, Late(name))
    if sys.platform == "linux":
        import ctypes.util

        search, ctypes.util.find_library = ctypes.util.find_library, lambda name: None  # noqa: ARG005
        try:
            with contextlib.suppress(OSError), contextlib.redirect_stdout(io.StringIO()):
                return import_module("weasyprint")
        finally:
            ctypes.util.find_library = search
    return import_module("weasyprint")


def hasten() -> None:
    """Have streams compressed at zlib's usual level, and a page's name found without naming all pages.

    The best level takes ten times as long for a twentieth of the size. Every tag of a document names its page.
    """
    from weasyprint.pdf import pydyf

    quick = ModuleType("zlib")
    quick.__dict__.update(vars(zlib), compressobj=lambda level=6: zlib.compressobj(min(level, 6)))
    vars(pydyf)["zlib"] = quick

    told = pydyf.PDF.page_references.fget

    def page_references(pdf: Any) -> Any:
        pages = len(pdf.pages["Kids"])
        if pdf.__dict__.get("_told", ((), 0))[1] != pages:
            pdf.__dict__["_told"] = told(pdf), pages
        return pdf.__dict__["_told"][0]

    pydyf.PDF.page_references = property(page_references)


def render(html: str, identifier: bytes) -> bytes:
    """Return the PDF of a page. Raises what WeasyPrint raises; a page that asks for anything but packaged assets is refused."""
    weasyprint = load()  # the limits stand first
    from weasyprint.urls import FatalURLFetchingError, URLFetcher, URLFetcherResponse

    class Packaged(URLFetcher):  # type: ignore[misc]
        def fetch(self, url: str, headers: Any = None) -> Any:  # noqa: ARG002 - the library's signature
            kind = ALLOWED.get(url)
            if kind is None:
                raise FatalURLFetchingError(f"the page asks for {url[:200]!r}, which is no packaged asset")
            return URLFetcherResponse(url, (ASSETS / url.removeprefix("asset:")).read_bytes(), {"Content-Type": kind})

    hasten()
    document = weasyprint.HTML(string=html, base_url="asset:", url_fetcher=Packaged())
    pdf = document.write_pdf(pdf_variant="pdf/ua-1", pdf_identifier=identifier)
    assert isinstance(pdf, bytes)
    return pdf


def serve(memory: int, cpu: int, clock: int) -> int:
    """Answer page after page until there are no more."""
    with contextlib.suppress(Exception):  # each fork says what is wrong, as a process of its own does
        load()
        gc.collect()
        gc.freeze()
    while head := sys.stdin.buffer.read(48):
        html = sys.stdin.buffer.read(int(head[32:]))
        out, err = os.memfd_create("pdf"), os.memfd_create("said")
        child = os.fork()
        if not child:
            end_with_parent()
            os.dup2(out, 1)
            os.dup2(err, 2)
            signal.alarm(clock)
            code = one(memory, cpu, head[:32].decode().strip(), html)
            sys.stderr.flush()
            os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        del html
        said = []
        for fd in (out, err):
            with open(fd, "rb") as file:  # noqa: PTH123 - it has no path
                file.seek(0)
                said.append(file.read())
        sys.stdout.buffer.write(f"{code:16d}{len(said[0]):16d}{len(said[1]):16d}".encode() + said[0] + said[1])
        sys.stdout.buffer.flush()
    return 0


def main() -> int:
    """Render standard input to standard output."""
    end_with_parent()
    memory, cpu = int(sys.argv[1]), int(sys.argv[2])
    if sys.argv[3] == "serve":
        return serve(memory, cpu, int(sys.argv[4]))
    return one(memory, cpu, sys.argv[3])


def one(memory: int, cpu: int, identifier: str, html: bytes | None = None) -> int:
    """Render a page, by default standard input, to standard output within limits; return the exit code."""
    limit(memory, cpu)
    gc.set_threshold(1_000_000, 20, 100)  # layout makes many objects and few cycles: collecting often costs a tenth of the time
    try:
        given = sys.stdin.buffer.read() if html is None else html
        pdf = render(given.decode("utf-8"), identifier.encode())
    except BaseException as error:  # noqa: BLE001 - the parent gets one line, whatever it was
        # A library that could not be mapped is named by ImportError or OSError, whatever the cause.
        if isinstance(error, MemoryError) or exhausted(memory):
            print(f"it can't allocate more than {memory >> 20} MiB of memory", file=sys.stderr)
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
