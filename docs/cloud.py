"""Prints the links that open a clone's repository in Binder and in Colab: `make links`.

The address comes from git's remote "origin", or is given: `python docs/cloud.py OWNER/NAME`.
"""

import re
import subprocess
import sys

NOTEBOOK = "notebooks/00_why_time.ipynb"
CELL = """!git clone --quiet --depth 1 {address} tanet-clone
%cd tanet-clone/notebooks
%pip install --quiet --editable ..
import sys
sys.path.insert(0, "..")"""


def repository(address: str) -> str:
    """OWNER/NAME of an address on GitHub. Raises ValueError for other addresses."""
    found = re.fullmatch(r"(?:(?:https://|ssh://git@|git@)github\.com[/:])?([\w.-]+/[\w.-]+?)(?:\.git)?/?", address)
    if not found:
        raise ValueError(f"{address!r} is no address on GitHub; give it: python docs/cloud.py OWNER/NAME")
    return found[1]


def links(name: str) -> dict[str, str]:
    """The addresses at the two services for the repository `name` on GitHub."""
    return {
        "Binder": f"https://mybinder.org/v2/gh/{name}/HEAD?urlpath=lab/tree/{NOTEBOOK}",
        "Colab": f"https://colab.research.google.com/github/{name}/blob/HEAD/{NOTEBOOK}",
    }


def colab_cell(address: str) -> str:
    """What the first cell of a notebook in Colab holds: it gets the repository at `address` and installs it."""
    return CELL.format(address=address)


def main() -> None:
    command = ["git", "remote", "get-url", "origin"]
    address = sys.argv[1] if sys.argv[1:] else subprocess.run(command, capture_output=True, text=True).stdout.strip()
    try:
        name = repository(address)
    except ValueError as error:
        sys.exit(str(error))
    for service, link in links(name).items():
        print(f"{service}: {link}\n  as a badge: [![{service}](docs/{service.lower()}.svg)]({link})")
    print(f"\nIn Colab, put this into a cell above the others:\n\n{colab_cell(f'https://github.com/{name}')}")


if __name__ == "__main__":
    main()
