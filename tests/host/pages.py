"""Commands of the documentation: lines of `console` blocks behind `# ` (as root) or `$ `, and the lines that follow."""

from pathlib import Path


def commands(page: Path) -> list[str]:
    found, inside = [], False
    for line in page.read_text().splitlines():
        if line.startswith("```"):
            inside = line == "```console"
        elif inside and line.startswith(("# ", "$ ")):
            found.append(line[2:])
        elif inside:
            found[-1] += f"\n{line}"
    return found
