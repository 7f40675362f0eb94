"""Make the lock files of the images: what they need beyond `requirements.lock`, with hashes.

Run in the project's folder after `make lock`: `python docker/lock.py`. Versions that the main lock file has are kept
and left out, so each image is installed from both files together.
"""

import re
import subprocess
from pathlib import Path

UV = ".venv-bootstrap/bin/uv"
MAIN = Path("requirements.lock")
COMMON = ("--quiet", "--generate-hashes", "--no-header", "--no-annotate", "--python-version", "3.11", "--constraint", str(MAIN))
IMAGES = {"airflow": ("--universal",), "worker-gpu": ("--python-platform", "x86_64-manylinux_2_28")}
KEEP = re.compile(r"tensorflow==")  # the main lock file has it for other platforms only


def entries(text: str) -> dict[str, str]:
    """`name==version` of each entry, and the entry itself."""
    found = re.findall(r"^[a-z0-9][^\n]*(?:\n    --hash[^\n]*)*", text, flags=re.MULTILINE)
    return {re.split(r"[ \\]", entry, maxsplit=1)[0]: entry for entry in found}


def main() -> None:
    """Write the lock file of each image."""
    known = entries(MAIN.read_text(encoding="utf-8"))
    for image, platform in IMAGES.items():
        folder = Path("docker") / image
        command = [UV, "pip", "compile", *COMMON, *platform, str(folder / "requirements.in")]
        resolved = entries(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        missing = [entry for pin, entry in resolved.items() if pin not in known or KEEP.match(pin)]
        (folder / "requirements.lock").write_text("\n".join(missing) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
