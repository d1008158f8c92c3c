"""The worker's command line: `python agent.py dev`, `start` or `console`. The worker is the package
`agent`."""

from agent import server
from agent.worker import main

if __name__ == "__main__":
    main(server)
