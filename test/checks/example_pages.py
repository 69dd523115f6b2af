"""Each example of the SDK has a page in the documentation, and the code there is its code."""

from __future__ import annotations

import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
LANGUAGES = {".cc": "cpp", ".c": "c"}


def mistakes(top: Path) -> list[str]:
    found = []
    examples = {folder.name: folder for folder in sorted((top / "sdk/examples").iterdir())}
    pages = {page.stem: page for page in sorted((top / "docs/examples").glob("*.md"))}
    found += [f"docs/examples/{name}.md is missing" for name in examples if name not in pages]
    found += [f"docs/examples/{name}.md has no example in sdk/examples" for name in pages if name not in examples]
    for name in examples.keys() & pages.keys():
        text = pages[name].read_text()
        for source in sorted(examples[name].glob("*.c*")):
            if f"```{LANGUAGES[source.suffix]}\n{source.read_text()}```\n" not in text:
                found.append(f"{pages[name].relative_to(top)}: its code is not that of {source.relative_to(top)}")
    return found


if __name__ == "__main__":
    texts = mistakes(TOP)
    print("\n".join(texts), end="\n" if texts else "")
    sys.exit(1 if texts else 0)
