"""A process that generates once and is meant to be killed: `python -m tests.synth.generate_once URL FOLDER SEEDS`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from synth.engine import generate
from tests.synth.rig import input, rig


async def main(url: str, folder: Path, seeds: int) -> None:
    async with rig(url, folder, concurrency=4) as r:
        result = await generate(r.store, input(seeds), r.generators, concurrency=4)
        assert result.counts.adds_up
        print(result.counts.model_dump_json())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
