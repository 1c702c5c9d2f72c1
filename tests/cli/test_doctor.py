"""What the doctor says of faiss: there must be one."""

from importlib.metadata import version

from tests.cli.conftest import here


def test_the_faiss_that_is_there_and_where_it_works(capsys):
    found = here(capsys, "doctor").out
    names = [name for name in ("faiss-cpu", "faiss-gpu-cu12") if f"  {name} " in found]
    assert len(names) == 1
    assert f"  {names[0]} {version(names[0])} (works on the CPU " in found
    assert "warning" not in found


def test_two_of_them_are_one_too_many(capsys, monkeypatch, tmp_path):
    folder = tmp_path / "faiss_gpu_cu99-1.99.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: faiss-gpu-cu99\nVersion: 1.99\n")
    (folder / "top_level.txt").write_text("faiss\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = here(capsys, "doctor").out
    assert "  faiss-gpu-cu99 1.99 (works on the CPU" in found
    assert "and faiss-gpu-cu99 install the same module, faiss; which of them is there" in found
    assert "Remove all (pip uninstall faiss-" in found
