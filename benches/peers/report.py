"""Writes what `run` has measured: a table in Markdown, and a page with a plot of each comparison that needs no other
file."""

import html
import io
import pathlib
import statistics
import subprocess
import sys

MATPLOTLIB = "matplotlib==3.10.7"

OURS, THEIRS = "#b7410e", "#7a8a99"


def markdown(title, about, header, rows):
    escape = lambda cell: cell.replace("|", "\\|")
    line = lambda row: "| " + " | ".join(map(escape, row)) + " |"
    table = [line(header), line(["---"] * len(header)), *map(line, rows)]
    return "\n".join([f"# {title}", "", *about, "", *table, ""])


def page(title, about, header, rows, comparisons, tools):
    """`comparisons` are (name, number, {contestant: samples}, who of them is ours, why some have none)."""
    cells = lambda row, tag: "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
    table = "\n".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    pyplot = load_pyplot(tools)
    plots = "\n".join(
        f"<h2>{html.escape(name)}</h2>\n{plot(pyplot, *comparison)}"
        + "".join(f"<p>{html.escape(who)}: {html.escape(why)}</p>" for who, why in failures.items())
        for name, *comparison, failures in comparisons
    )
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{html.escape(title)}</title>
<style>
body {{ font: 15px/1.4 sans-serif; max-width: 75em; margin: 2em auto; padding: 0 1em }}
table {{ border-collapse: collapse }} td, th {{ padding: .2em .8em; border-bottom: 1px solid #ddd; text-align: left }}
svg {{ max-width: 100% }}
</style>
<h1>{html.escape(title)}</h1>
{"".join(f"<p>{html.escape(line)}</p>" for line in about)}
<table>
<tr>{cells(header, 'th')}</tr>
{table}
</table>
{plots}
</html>
"""


def load_pyplot(tools):
    """Installs matplotlib on first use, into a folder of its own."""
    folder = pathlib.Path(tools) / MATPLOTLIB
    if not folder.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--target", folder, MATPLOTLIB], check=True, timeout=600)
    sys.path.insert(0, str(folder))
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    return pyplot


def plot(pyplot, number, samples, ours):
    """Medians as bars, and from the least to the most of the samples as a line."""
    median_of = lambda who: statistics.median(samples[who])
    contestants = sorted(samples, key=median_of, reverse=not number.endswith("/s"))
    if not contestants:
        return ""
    medians = [median_of(who) for who in contestants]
    spread = [
        [median - min(samples[who]) for who, median in zip(contestants, medians)],
        [max(samples[who]) - median for who, median in zip(contestants, medians)],
    ]
    figure, axes = pyplot.subplots(figsize=(9, 0.6 + 0.3 * len(contestants)))
    axes.barh(contestants, medians, xerr=spread, color=[OURS if who in ours else THEIRS for who in contestants])
    axes.set_xlabel(number)
    axes.spines[["top", "right"]].set_visible(False)
    picture = io.StringIO()
    figure.savefig(picture, format="svg", bbox_inches="tight")
    pyplot.close(figure)
    return picture.getvalue().partition("<svg")[1] + picture.getvalue().partition("<svg")[2]
