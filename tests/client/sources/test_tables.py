"""Tables as items: what is guessed, what can be said instead, and where a mistake is."""

import gzip
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from client.sources import parts as part_module
from client.sources import tables
from client.sources.choose import as_source
from client.sources.files import read_table
from client.sources.parts import Part, Source, SourceError
from client.sources.text import text_vectors

FLOWERS = "id,length,width,site,species\nf1,1.5,2,north,rose\nf2,3,4.25,south,tulip\nf3,5,6,north,\n"


def only(source: Source) -> Part:
    (part,) = source.parts()
    return part


def written(tmp_path: Path, text: str, name: str = "t.csv", encoding: str = "utf-8") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


def test_numbers_become_vectors_and_the_rest_attributes(tmp_path: Path) -> None:
    source = read_table(written(tmp_path, FLOWERS), label_column="species")
    part = only(source)
    assert part.ids == ["f1", "f2", "f3"]
    assert part.x is not None
    assert part.x.dtype == np.float32
    assert part.x.tolist() == [[1.5, 2], [3, 4.25], [5, 6]]
    assert part.columns == ("length", "width")
    assert part.labels == ["rose", "tulip", None]
    assert part.attributes == [{"site": "north"}, {"site": "south"}, {"site": "north"}]
    assert source.classes is not None
    assert source.classes() == ["rose", "tulip"]
    assert any("2 columns of numbers: length, width" in said for said in source.said)


def test_names_of_numbers_stay_with_all_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "NAME_LENGTH_MAX", 5)
    part = only(read_table(written(tmp_path, FLOWERS)))
    assert part.columns == ("lengt", "width")
    (joined,) = part_module.merged([part, part])
    assert (joined.rows, joined.columns) == (6, part.columns)
    monkeypatch.setattr(tables, "NAMES_MAX", 1)
    assert only(read_table(written(tmp_path, FLOWERS))).columns is None
    made = read_table(written(tmp_path, FLOWERS), embed=lambda rows: np.array(rows) * 2)
    assert only(made).columns is None


def test_ids_stay_words_and_labels_become_names(tmp_path: Path) -> None:
    source = read_table(written(tmp_path, "item,a,b,label\n007,1,2,10\n008,3,4,9\n"))
    part = only(source)
    assert part.ids == ["007", "008"]
    assert part.labels == ["10", "9"]
    assert source.classes is not None
    assert source.classes() == ["9", "10"]


@pytest.mark.parametrize(
    ("name", "text", "encoding"),
    [
        ("t.csv", "\ufeffid;a;b\nx;1;2\n", "utf-8"),
        ("t.tsv", "id\ta\tb\nx\t1\t2\n", "utf-8"),
        ("t.csv", 'id,"a","b"\n"x","1","2"\n', "utf-8"),
        ("t.csv", "id,a,b\r\nx,1,2\r\n", "utf-8"),
        ("t.csv", "id|a|b\nx|1|2\n", "latin-1"),
    ],
)
def test_ways_to_write_it(tmp_path: Path, name: str, text: str, encoding: str) -> None:
    part = only(read_table(written(tmp_path, text, name, encoding), encoding=encoding))
    assert part.ids == ["x"]
    assert part.x is not None
    assert part.x.tolist() == [[1, 2]]


def test_numbers_without_names_and_packed(tmp_path: Path) -> None:
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"1,2,3\n4,5,6\n"))
    part = only(read_table(tmp_path / "t.csv.gz"))
    assert part.ids is None
    assert part.x is not None
    assert part.x.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_texts_become_vectors_and_go_along(tmp_path: Path) -> None:
    rows = 'key,review,stars\nr1,"good, really",5\nr2,bad,1\n'
    part = only(read_table(written(tmp_path, rows), dimensions=64))
    assert part.texts == ["good, really", "bad"]
    assert np.array_equal(np.asarray(part.x), text_vectors(part.texts, 64))
    assert part.attributes == [{"stars": 5}, {"stars": 1}]


def test_a_long_column_of_words_is_the_text_and_vectors_beside_a_text_stay(tmp_path: Path) -> None:
    long = "id,what\n1,a sentence that is long enough to be taken for the text of it\n"
    assert only(read_table(written(tmp_path, long))).texts == [
        "a sentence that is long enough to be taken for the text of it"
    ]
    header, row = ",".join(f"e{k}" for k in range(8)), ",".join(str(k) for k in range(8))
    part = only(read_table(written(tmp_path, f"text,{header}\nhello,{row}\n")))
    assert part.texts == ["hello"]
    assert part.x is not None
    assert part.x.shape == (1, 8)


def test_an_embedding_of_the_callers(tmp_path: Path) -> None:
    path = written(tmp_path, "id,text\n1,ab\n2,abc\n")
    part = only(read_table(path, embed=lambda texts: np.array([[len(text), 1] for text in texts])))
    assert part.x is not None
    assert part.x.tolist() == [[2, 1], [3, 1]]
    with pytest.raises(SourceError, match=r"t.csv, rows 1 to 2: embed gave .* shape \[3\] for 2 items"):
        only(read_table(path, embed=lambda _: np.zeros(3)))


@pytest.mark.parametrize(
    ("text", "said", "match"),
    [
        ("id,a,b\nx,1,2\ny,,4\n", {}, r"t.csv, row 2, column 'a': no number: it is empty.*--fill 0.*--features"),
        ("id,a,b\nx,1,2\ny,inf,4\n", {}, r"row 2, column 'a': inf, which is not finite"),
        ("id,a\n" + "x,1\n" * 300_000 + "x,oops\n", {}, r"row 300001, column 'a': 'oops' is no number"),
        ("id,a,b\nx,1,2\ny,1\n", {}, r"t.csv: .*Expected 3 columns, got 2.*every row"),
        ("id,a,b\nx,1,2\n,3,4\n", {}, r"row 2, column 'id': no id"),
        ("id,text\n1,a\n2,\n", {}, r"row 2, column 'text': no text"),
        ("id,length\n1,2\n", {"features": ["lenght"]}, r"no column 'lenght' \(--features\); did you mean 'length'\?"),
        ("id,a,b\n1,2,x\n", {"features": ["a", "b"]}, r"column 'b' cannot be a feature: it holds texts"),
        ("id,b\n1,x\n", {}, r"nothing to make vectors of.*--text-column.*'b' \(text\)"),
        ("a,b\n", {}, r"has no rows|nothing to make"),
        ("\n", {}, r"empty line"),
        ("id,a\x00,b\n", {}, r"not a text file"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, said: dict[str, Any], match: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(SourceError, match=match):
        list(read_table(path, **said).parts())


CASES = "case,site,a,b\n" + "".join(f"case-{k},s{k % 2},{k},{k / 2}\n" for k in range(20))


def test_words_that_differ_in_every_row_are_the_ids(tmp_path: Path) -> None:
    source = read_table(written(tmp_path, CASES))
    part = only(source)
    assert part.ids is not None
    assert part.ids[:2] == ["case-0", "case-1"]
    assert part.attributes is not None
    assert part.attributes[1] == {"site": "s1"}
    assert any("'case'" in said and "--id-column" in said for said in source.said)
    assert only(read_table(written(tmp_path, CASES), id_column="")).ids is None
    two = written(tmp_path, "name,other,id,a\n" + "".join(f"n{k},o{k},{k},{k}\n" for k in range(3)))
    assert only(read_table(two)).ids == ["0", "1", "2"]
    two = written(tmp_path, "name,other,a\nn0,o0,1\nn1,o1,2\n")
    assert only(read_table(two)).ids == ["n0", "n1"]


@pytest.mark.parametrize("sign", ["NA", "n/a", "n.a.", "-", "null", "NaN", ""])
def test_signs_for_nothing_are_missing_numbers(tmp_path: Path, sign: str) -> None:
    path = written(tmp_path, CASES.replace("case-7,s1,7,", f"case-7,s1,{sign},"))
    with pytest.raises(SourceError, match=r"row 8, column 'a': no number: .*--fill 0.*--features"):
        only(read_table(path))
    part = only(read_table(path, fill=-1))
    assert part.x is not None
    assert part.x[6:9].tolist() == [[6, 3], [-1, 3.5], [8, 4]]


def test_a_word_among_numbers_is_refused_and_not_left_out(tmp_path: Path) -> None:
    path = written(tmp_path, CASES.replace("case-7,s1,7,", "case-7,s1,<1,"))
    refused = r"row 8, column 'a': '<1' is no number.*--fill 0.*--features.*--attributes"
    said: list[dict[str, Any]] = [{}, {"attributes": []}, {"features": ["a", "b"]}]
    for reading in said:
        with pytest.raises(SourceError, match=refused):
            read_table(path, **reading)
    part = only(read_table(path, features=["b"]))
    assert part.x is not None
    assert part.x.shape == (20, 1)
    part = only(read_table(path, attributes=["a"]))
    assert part.attributes is not None
    assert part.attributes[7] == {"a": "<1"}


def test_a_dash_among_words_is_a_word(tmp_path: Path) -> None:
    part = only(read_table(written(tmp_path, "id,a,class\n1,1,+\n2,2,-\n3,3,NA\n")))
    assert part.labels == ["+", "-", None]


def test_gaps_can_be_filled_and_columns_chosen(tmp_path: Path) -> None:
    path = written(tmp_path, "id,a,b\nx,1,2\ny,,4\n")
    part = only(read_table(path, fill=-1, features=["b", "a"], attributes=[]))
    assert part.x is not None
    assert part.x.tolist() == [[2, 1], [4, -1]]
    assert part.attributes is None


def test_another_encoding_is_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, "id,text\n1,schön\n", encoding="latin-1")
    with pytest.raises(SourceError, match="--encoding latin-1"):
        list(read_table(path).parts())
    assert only(read_table(path, encoding="latin-1")).texts == ["schön"]


def columns() -> pa.Table:
    return pa.table(
        {
            "id": ["a", "b"],
            "embedding": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float64())),
            "when": pa.array([0, 1], pa.timestamp("s")),
            "good": [True, None],
        }
    )


def test_parquet_arrow_and_frames_say_the_same(tmp_path: Path) -> None:
    table = columns()
    pq.write_table(table, tmp_path / "t.parquet")
    for name, writer in (("t.arrow", pa.ipc.new_file), ("s.arrow", pa.ipc.new_stream)):
        with writer(tmp_path / name, table.schema) as file:
            file.write_table(table)
    paths = [tmp_path / name for name in ("t.parquet", "t.arrow", "s.arrow")]
    for source in (*map(as_source, paths), as_source(table), as_source(table.to_pandas())):
        part = only(source)
        assert part.ids == ["a", "b"]
        assert part.x is not None
        assert part.x.tolist() == [[1, 2], [3, 4]]
        assert part.attributes == [{"when": "1970-01-01 00:00:00", "good": True}, {"when": "1970-01-01 00:00:01"}]


def test_vectors_of_several_lengths(tmp_path: Path) -> None:
    table = pa.table({"x": [[1.0], [1.0, 2.0]]})
    with pytest.raises(SourceError, match=r"row 2, column 'x': not as many numbers"):
        list(as_source(table).parts())
    (tmp_path / "t.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(SourceError, match="cannot be read"):
        as_source(tmp_path / "t.parquet")


def test_too_many_attributes_and_classes() -> None:
    table = pa.table({"a": [1.0]} | {f"c{k}": ["x"] for k in range(33)})
    with pytest.raises(SourceError, match=r"33 columns .* may have 32: .*--attributes none"):
        as_source(table)
    labels = pa.table({"a": np.zeros(1001), "label": [str(k) for k in range(1001)]})
    source = as_source(labels)
    assert source.classes is not None
    with pytest.raises(SourceError, match="more than 1000 distinct"):
        source.classes()


def test_hugging_face_datasets() -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    )
    data = datasets.Dataset.from_dict({"text": ["a b", "c d", "e"], "label": [1, 0, -1]}, features=features)
    source = as_source(data)
    part = only(source)
    assert part.texts == ["a b", "c d", "e"]
    assert part.labels == ["good", "bad", None]
    assert source.classes is not None
    assert source.classes() == ["bad", "good"]
    assert source.rows == 3
    with pytest.raises(SourceError, match="data\\['train'\\]"):
        as_source(datasets.DatasetDict(train=data))
    streamed = data.to_iterable_dataset()
    assert only(as_source(streamed)).labels == ["good", "bad", None]


def test_parts_are_of_constant_size_and_the_same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_module, "PART_BYTES", 4000)
    frame = pd.DataFrame(np.arange(9000.0).reshape(3000, 3), columns=["a", "b", "c"])
    monkeypatch.setattr(part_module, "PART_ROWS", 2500)
    first, again = ([part.rows for part in as_source(frame).parts()] for _ in range(2))
    assert first == again == [2000, 1000]
    monkeypatch.setattr(part_module, "PART_BYTES", 10**9)
    monkeypatch.setattr(part_module, "PART_ROWS", 10**9)
    part = only(as_source(frame))
    assert np.array_equal(np.asarray(part.x), frame.to_numpy(np.float32))
