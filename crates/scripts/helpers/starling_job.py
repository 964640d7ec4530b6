"""What a script on Starling may use: `from starling_job import metric, output`. Outside of Starling it does the same."""

import os
import sys

__all__ = ["metric", "output"]


def metric(name, value, step=None):
    """Reports a figure: it is drawn while the job runs. `name` has ASCII letters, digits and `_ . / -`."""
    parts = ["::metric", "name=" + str(name)]
    if step is not None:
        parts.append("step=%d" % int(step))
    parts.append("value=%r" % float(value))
    # One write, so that no other line gets in between.
    sys.stdout.write(" ".join(parts) + "\n")
    sys.stdout.flush()


def output(*parts):
    """A path below `outputs/`, its folder made: whatever lies there comes back."""
    path = os.path.join("outputs", *[str(part) for part in parts])
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return path
