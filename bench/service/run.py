"""`python -m bench.service.run` writes bench/results/service.json; each part writes its own keys."""

from __future__ import annotations

from bench.service import kills, pages

if __name__ == "__main__":
    kills.main()
    pages.main()
