"""Prints facts about its own process, waits for the end of its input, and exits with the given code."""

from __future__ import annotations

import json
import os
import sys

if __name__ == "__main__":
    facts = {"pid": os.getpid(), "leads": os.getsid(0) == os.getpid(), "folder": os.getcwd(), "words": sys.argv[1:]}
    print(json.dumps({**facts, "marked": os.environ.get("A_MARK")}), flush=True)
    sys.stdin.read()
    sys.exit(int(sys.argv[1]))
