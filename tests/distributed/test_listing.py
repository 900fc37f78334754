"""What is listed, and how it is divided into parts."""

import itertools
from pathlib import Path

import pytest

from ssh_tf.distributed.listing import Archive, Part, Photo, divide, list_inputs
from ssh_tf.distributed.places import is_uri, name_of, stamp
from ssh_tf.errors import UserError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`photos/` with two images, an archive and what is neither; the working folder is its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    for name in ("b.jpg", "sub/a.PNG", "c.tar", "notes.md", ".hidden.jpg"):
        (tmp_path / "photos" / name).write_bytes(b"x")
    return tmp_path / "photos"


def listed(*paths: str) -> list[Photo | Archive]:
    return list(list_inputs(paths, []))


def test_a_folder_s_images_and_archives_in_the_order_of_detect(folder: Path):
    skipped: list[Path] = []
    assert list(list_inputs(["photos"], skipped)) == [
        Photo("photos/b.jpg", "b.jpg"),
        Archive("photos/c.tar"),
        Photo("photos/sub/a.PNG", "sub/a.PNG"),
    ]
    assert [path.name for path in skipped] == [".hidden.jpg", "notes.md"]


def test_a_folder_that_can_t_be_read_is_named_and_the_rest_is_listed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    real = Path.iterdir

    def refuse(path: Path) -> object:
        if path.name == "sub":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    skipped: list[Path] = []
    assert [each.source for each in list_inputs(["photos"], skipped)] == [
        "photos/b.jpg",
        "photos/c.tar",
    ]
    assert Path("photos/sub") in skipped


@pytest.mark.parametrize("kind", ["txt", "parquet", "file://txt"])
def test_lists_hold_paths_urls_and_uris(folder: Path, kind: str):
    pa = pytest.importorskip("pyarrow", reason='needs pyarrow: pip install "ssh-tf[ray]"')
    pq = pytest.importorskip("pyarrow.parquet")
    sources = ["photos/b.jpg", "/data/d.jpg", "s3://bucket/e%20f.jpg", "https://a.org/g.jpg?h=1"]
    path = folder.parent / f"list.{kind.removeprefix('file://')}"
    if kind == "parquet":
        pq.write_table(pa.table({"id": range(5), "uri": [*sources, "s3://bucket/h.tar"]}), path)
    else:
        path.write_text("\n".join(sources) + "\n\n  s3://bucket/h.tar \n")
    assert listed(path.as_uri() if "://" in kind else path.name) == [
        Photo("photos/b.jpg", "photos/b.jpg"),
        Photo("/data/d.jpg", "data/d.jpg"),
        Photo("s3://bucket/e%20f.jpg", "bucket/e f.jpg"),
        Photo("https://a.org/g.jpg?h=1", "a.org/g.jpg"),
        Archive("s3://bucket/h.tar"),
    ]


def test_uris_name_files_and_folders_of_stores(folder: Path):
    pytest.importorskip("pyarrow", reason='needs pyarrow: pip install "ssh-tf[ray]"')
    uri = folder.as_uri()
    assert listed(uri) == [
        Photo(f"{uri}/b.jpg", "b.jpg"),
        Archive(f"{uri}/c.tar"),
        Photo(f"{uri}/sub/a.PNG", "sub/a.PNG"),
    ]
    assert listed(f"{uri}/b.jpg") == [Photo(f"{uri}/b.jpg", "b.jpg")]
    status = (folder / "b.jpg").stat()
    known = (status.st_size, status.st_mtime_ns)
    assert stamp(f"{uri}/b.jpg") == stamp(str(folder / "b.jpg")) == known
    assert stamp(f"{uri}/absent.jpg") == stamp("absent.jpg") == stamp("https://a/b") == (None, None)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["absent"], "absent does not exist. Name an image or a folder of images."),
        (["absent.txt"], "absent.txt can't be read: .*No such file"),
        (["photos/sub", "empty"], "empty holds no image"),
        (["file:///absent/a.jpg"], "file:///absent/a.jpg does not exist"),
        (["odd://host/a.jpg"], "odd://host can't be reached"),
        (["text.parquet"], "text.parquet is no Parquet file"),
        (["other.parquet"], "has no column image, path, uri, url .*has: id, name"),
    ],
)
def test_what_can_t_be_listed_is_named(folder: Path, paths: list[str], message: str):
    pa = pytest.importorskip("pyarrow", reason='needs pyarrow: pip install "ssh-tf[ray]"')
    pq = pytest.importorskip("pyarrow.parquet")
    (folder.parent / "empty").mkdir()
    (folder.parent / "text.parquet").write_text("no table")
    pq.write_table(pa.table({"id": [1], "name": ["a"]}), folder.parent / "other.parquet")
    with pytest.raises(UserError, match=message):
        listed(*paths)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("../../etc/a.jpg", "etc/a.jpg"),
        ("s3://b/../../c/d.jpg", "b/c/d.jpg"),
        ("s3://b/%2e%2e/%2Fc.jpg", "b/c.jpg"),
        ("..", "image"),
    ],
)
def test_no_listed_name_leads_out(source: str, name: str):
    assert name_of(source) == name


def test_a_uri_is_no_web_page_and_no_path():
    assert [is_uri(text) for text in ("s3://a/b", "https://a/b", "a/b", "C:\\a")] == [
        True,
        False,
        False,
        False,
    ]


def photos(count: int) -> list[Photo]:
    return [Photo(f"{i}.jpg", f"{i}.jpg") for i in range(count)]


@pytest.mark.parametrize(
    ("count", "sizes"),
    [
        (0, []),
        (3, [3]),
        (20, [8, 8, 4]),  # at least 8
        (641, [11] * 58 + [3]),  # 641 / 64 is more than 10; 58 * 11 = 638
    ],
)
def test_small_jobs_are_divided_so_that_many_workers_have_some(count: int, sizes: list[int]):
    parts, total = divide(photos(count))
    assert total == count
    divided = list(parts)
    assert [len(part.inputs) for part in divided] == sizes
    assert [part.number for part in divided] == list(range(len(sizes)))
    assert [photo for part in divided for photo in part.inputs] == photos(count)


def test_endless_lists_are_taken_as_they_are_needed():
    taken = itertools.count()
    endless = (Photo(f"{next(taken)}.jpg", "a.jpg") for _ in itertools.repeat(0))
    parts, total = divide(endless)
    assert total == 0
    assert [len(part.inputs) for part in itertools.islice(parts, 66)] == [1000] * 66
    assert next(taken) == 66_000


def test_an_archive_is_a_part_of_its_own_and_a_photo_named_twice_is_one():
    a, b = photos(2)
    parts, total = divide([a, Archive("x.tar"), Archive("y.tar"), b, a])
    assert total == 0
    assert list(parts) == [
        Part(0, (a,)),
        Part(1, (Archive("x.tar"),)),
        Part(2, (Archive("y.tar"),)),
        Part(3, (b,)),
    ]
