"""`make serve-demo`: creates the release-notes example in a workspace, serves it on this machine and opens the browser.

The example is ready to start on the embedded model: no key, no account, no cost. There is no sign-in, so only this
machine can reach it. Ctrl-C stops the server; a running job continues, and the next start adopts it.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import webbrowser
from pathlib import Path

EXAMPLE = "release-notes"
PAIRSMITH = [sys.executable, "-m", "pairsmith"]
WORKSPACE = Path("demo") / "service"
PORT = 8660


def main(workspace: Path = WORKSPACE, port: int = PORT, *, open_browser: bool = True) -> int:
    """Serve until Ctrl-C; the exit code of `pairsmith serve`."""
    folder = workspace / "projects" / EXAMPLE
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([*PAIRSMITH, "init", str(folder), "--example", EXAMPLE, "--embedded"], check=True)
    address = f"http://127.0.0.1:{port}"
    if open_browser:
        threading.Thread(target=_open, args=(address,), daemon=True).start()
    try:
        return subprocess.run([*PAIRSMITH, "serve", str(workspace), "--no-auth", "--port", str(port)]).returncode
    except KeyboardInterrupt:
        return 0


def _open(address: str) -> None:
    """Open the page of the example once the service is ready."""
    for _ in range(240):
        try:
            urllib.request.urlopen(f"{address}/readyz", timeout=2).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.25)
            continue
        print(f"Open {address}/p/{EXAMPLE} and press Start.", flush=True)
        webbrowser.open(f"{address}/p/{EXAMPLE}")
        return


if __name__ == "__main__":
    sys.exit(main())
