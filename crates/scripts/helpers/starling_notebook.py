"""Runs a notebook's cells in order, in one process and with the standard library alone; writes the notebook with what they gave to outputs/."""

import ast
import contextlib
import io
import json
import os
import re
import sys
import traceback

MOST_OUTPUT = 1_000_000


class Tee(io.TextIOBase):
    """Passes on what is written, and keeps it for the notebook."""

    def __init__(self, stream):
        self.stream, self.kept, self.length = stream, [], 0

    def write(self, text):
        self.stream.write(text)
        self.stream.flush()
        if self.length < MOST_OUTPUT:
            self.kept.append(text)
            self.length += len(text)
        return len(text)

    def flush(self):
        self.stream.flush()


def lines(text):
    return text.splitlines(keepends=True)


def plain(source, number):
    """The cell without IPython's own commands: `%` lines are left out, `!` lines are refused."""
    kept = []
    for line in source.splitlines():
        if re.match(r"\s*!", line) or re.match(r"%%(?!time\b|timeit\b|capture\b)", line):
            raise SystemExit("cell %d: %r is not run here: packages belong into requirements.txt, commands into Python" % (number, line.strip()))
        kept.append(re.sub(r"\S.*", "pass", line) if re.match(r"\s*%", line) else line)
    return "\n".join(kept)


def run_cell(source, number, names):
    """Runs a cell; the value of an expression at its end is shown, as in a notebook."""
    tree = ast.parse(source, "cell-%d" % number)
    last = None
    if tree.body and isinstance(tree.body[-1], ast.Expr) and not source.rstrip().endswith(";"):
        last = ast.Expression(tree.body.pop().value)
    exec(compile(tree, "cell-%d" % number, "exec"), names)
    return eval(compile(last, "cell-%d" % number, "eval"), names) if last is not None else None


def figures():
    """The figures that a cell drew, as PNG in base64."""
    if "matplotlib.pyplot" not in sys.modules:
        return []
    import base64

    pyplot, drawn = sys.modules["matplotlib.pyplot"], []
    for number in pyplot.get_fignums():
        file = io.BytesIO()
        pyplot.figure(number).savefig(file, format="png", bbox_inches="tight")
        drawn.append(base64.b64encode(file.getvalue()).decode())
    pyplot.close("all")
    return drawn


def main(path):
    os.environ.setdefault("MPLBACKEND", "Agg")
    with open(path, encoding="utf-8") as file:
        notebook = json.load(file)
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    names, count, failed = {"__name__": "__main__"}, 0, False
    for number, cell in enumerate(notebook.get("cells", []), 1):
        source = "".join(cell.get("source", []))
        if cell.get("cell_type") != "code" or not source.strip():
            continue
        count += 1
        cell["execution_count"], cell["outputs"] = count, []
        out, err = Tee(sys.stdout), Tee(sys.stderr)
        value, error = None, None
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                value = run_cell(plain(source, number), number, names)
                if value is not None:
                    names["_"] = value
                    print(repr(value))
            except SystemExit as ended:
                error = ended if ended.code not in (None, 0) else None
                stop = True
            except BaseException as raised:
                error, stop = raised, True
                traceback.print_exc()
            else:
                stop = False
        for name, tee in (("stdout", out), ("stderr", err)):
            if tee.kept:
                cell["outputs"].append({"output_type": "stream", "name": name, "text": lines("".join(tee.kept))})
        for image in figures():
            cell["outputs"].append({"output_type": "display_data", "metadata": {}, "data": {"image/png": image}})
        if error is not None:
            failed = True
            cell["outputs"].append({"output_type": "error", "ename": type(error).__name__, "evalue": str(error), "traceback": []})
            if isinstance(error, SystemExit):
                print(error, file=sys.stderr)
        if stop:
            break
    os.makedirs("outputs", exist_ok=True)
    with open(os.path.join("outputs", os.path.basename(path)), "w", encoding="utf-8") as file:
        json.dump(notebook, file, ensure_ascii=False, indent=1)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
