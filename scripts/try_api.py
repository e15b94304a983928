"""Try the server's API against its own description, with schemathesis.

    python scripts/try_api.py path/to/schemathesis [--model everyday] [--examples 300]

schemathesis reads /openapi.json and makes valid and invalid requests from it: every answer must be
in the description, and none may be a server error. The description cannot say that a file is a
photograph, so requests that match it may be refused. The exit code is schemathesis's.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Start a server, run schemathesis, stop the server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("schemathesis")
    parser.add_argument("--model")
    parser.add_argument("--examples", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    command = [sys.executable, "-m", "showattend", "serve", "--port", "0"]
    command += ["--model", options.model] if options.model else []
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    try:
        address = server.stderr.readline().split()[2]
        found = subprocess.run(
            [options.schemathesis, "run", f"{address}openapi.json", "--checks", "all",
             "--exclude-checks", "positive_data_acceptance",
             "--max-examples", str(options.examples), "--seed", str(options.seed)]
        )  # fmt: skip
    finally:
        server.terminate()
        said = server.communicate()[1]
    if said:
        print(f"the server wrote on stderr: {said}")
    return found.returncode or int(bool(said.replace("showattend: terminated\n", "")))


if __name__ == "__main__":
    sys.exit(main())
