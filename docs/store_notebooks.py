"""Run the notebooks, each in a kernel of its own, and store in them what they print and draw: `make notebooks`."""

from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient


def store(file: Path) -> None:
    """Run one notebook in an empty folder, and write it without what differs from one machine to the next."""
    notebook = nbformat.read(file, as_version=4)
    with TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=300, record_timing=False, coalesce_streams=True, resources=resources).execute()
    notebook.metadata.language_info = {"name": "python"}
    for cell in notebook.cells:
        if cell.cell_type == "code":  # warnings have paths of this machine in them
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    nbformat.write(notebook, file)


if __name__ == "__main__":
    for file in sorted((Path(__file__).parent / "notebooks").glob("*.ipynb")):
        store(file)
