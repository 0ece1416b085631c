"""Print every table in bench-out/ as Markdown, for RESULTS.md."""

from __future__ import annotations

import json

from benchmarks.common import ROOT, markdown


def main() -> None:
    for path in sorted((ROOT / "bench-out").glob("*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        m = found["machine"]
        print(f"## {path.stem}\n\n{found['title']}.\n\n{markdown(found['rows'])}\n")
        software = ", ".join(f"{name} {version}" for name, version in m["software"].items())
        print(
            f"{m['cpu']}, {m['threads']} threads, {m['device']}; {m['weights']} weights; "
            f"commit {m['commit']}; Python {m['python']}, {software}.\n"
        )


if __name__ == "__main__":
    main()
