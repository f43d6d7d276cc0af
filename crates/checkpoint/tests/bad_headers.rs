//! Damaged safetensors headers: each is refused with a message that names the damage.

mod support;

use fathom_checkpoint::{Header, HeaderError};
use support::{Tensors, assert_says, safetensors, stored, with_header};

fn refuse(case: &str, file: &[u8], phrases: &[&str]) -> HeaderError {
    match Header::parse(file) {
        Ok(_) => panic!("{case}: accepted"),
        Err(error) => {
            assert_says(case, &error, phrases);
            error
        }
    }
}

#[test]
fn a_whole_file_is_accepted_and_ranges_are_absolute() {
    let mut tensors = Tensors::new();
    tensors.insert("a".to_owned(), stored("F32", &[2, 3]));
    tensors.insert("b".to_owned(), stored("I8", &[5]));
    tensors.insert("empty".to_owned(), stored("BF16", &[0, 7]));
    let file = safetensors(&tensors);
    let header = Header::parse(&file).unwrap();
    let start = file.len() - 24 - 5;
    assert_eq!(header.tensors["a"].range, start..start + 24);
    assert_eq!(header.tensors["b"].range, start + 24..start + 29);
    assert_eq!(header.tensors["empty"].shape, [0, 7]);
}

#[test]
fn every_truncation_is_noticed() {
    let mut tensors = Tensors::new();
    tensors.insert("a".to_owned(), stored("F32", &[4]));
    let file = safetensors(&tensors);
    for length in 0..file.len() {
        assert!(
            Header::parse(&file[..length]).is_err(),
            "{length} of {} bytes were accepted",
            file.len()
        );
    }
    refuse("empty file", &[], &["at least 8 bytes", "found 0", "cut off"]);
    refuse(
        "inside the header",
        &file[..20],
        &["only 12 bytes follow", "cut off"],
    );
    refuse(
        "inside the data",
        &file[..file.len() - 1],
        &["tensor a ends at byte 16", "holds only 15", "download"],
    );
}

#[test]
fn damaged_headers_are_refused() {
    let entry = |dtype: &str, shape: &str, start: u64, end: u64| {
        format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}"#)
    };
    let a = entry("F32", "[1]", 0, 4);
    let cases: &[(&str, String, usize, &[&str])] = &[
        ("not JSON", "hello".to_owned(), 0, &["header is not valid"]),
        ("not an object", "[]".to_owned(), 0, &["a map from tensor names"]),
        (
            "trailing garbage",
            format!(r#"{{"a":{a}}} x"#),
            4,
            &["trailing characters"],
        ),
        (
            "duplicate name",
            format!(r#"{{"a":{a},"a":{a}}}"#),
            4,
            &["tensor a is listed twice"],
        ),
        (
            "FP4 as a dtype of its own",
            format!(r#"{{"w":{}}}"#, entry("F4", "[8]", 0, 4)),
            4,
            &["tensor w has dtype F4", "I8 (packed FP4)", "convert"],
        ),
        (
            "half precision",
            format!(r#"{{"w":{}}}"#, entry("F16", "[2]", 0, 4)),
            4,
            &["tensor w has dtype F16"],
        ),
        (
            "invented dtype",
            format!(r#"{{"w":{}}}"#, entry("Q4_K", "[2]", 0, 4)),
            4,
            &["tensor w has dtype Q4_K"],
        ),
        (
            "dtype missing",
            r#"{"w":{"shape":[1],"data_offsets":[0,4]}}"#.to_owned(),
            4,
            &["tensor w: missing field `dtype`"],
        ),
        (
            "shape twice",
            r#"{"w":{"dtype":"I8","shape":[1],"shape":[1],"data_offsets":[0,1]}}"#.to_owned(),
            1,
            &["tensor w: duplicate field `shape`"],
        ),
        (
            "negative size",
            format!(r#"{{"w":{}}}"#, entry("F32", "[-1]", 0, 4)),
            4,
            &["tensor w"],
        ),
        (
            "fractional size",
            format!(r#"{{"w":{}}}"#, entry("F32", "[1.5]", 0, 4)),
            4,
            &["tensor w"],
        ),
        (
            "three offsets",
            r#"{"w":{"dtype":"I8","shape":[1],"data_offsets":[0,1,2]}}"#.to_owned(),
            1,
            &["tensor w"],
        ),
        (
            "too many dimensions",
            format!(r#"{{"w":{}}}"#, entry("I8", "[1,1,1,1,1,1,1,1,1]", 0, 1)),
            1,
            &["tensor w", "more than 8 dimensions"],
        ),
        (
            "offsets backwards",
            format!(r#"{{"w":{}}}"#, entry("F32", "[1]", 4, 0)),
            4,
            &["tensor w starts at byte 4 but ends at byte 0"],
        ),
        (
            "beyond the file",
            format!(r#"{{"w":{}}}"#, entry("F32", "[2]", 0, 8)),
            4,
            &["tensor w ends at byte 8", "holds only 4"],
        ),
        (
            "far beyond the file",
            format!(r#"{{"w":{}}}"#, entry("I8", "[1]", u64::MAX - 1, u64::MAX)),
            4,
            &["tensor w ends at byte 18446744073709551615"],
        ),
        (
            "shape against offsets",
            format!(r#"{{"w":{}}}"#, entry("F32", "[3]", 0, 4)),
            4,
            &["tensor w is F32 [3]", "takes 12 bytes", "offsets give it 4"],
        ),
        (
            "overflowing shape",
            format!(r#"{{"w":{}}}"#, entry("F32", "[4294967296,4294967296]", 0, 4)),
            4,
            &["tensor w is F32", "more than 2^64"],
        ),
        (
            "overlap",
            format!(r#"{{"a":{a},"b":{}}}"#, entry("F32", "[1]", 2, 6)),
            6,
            &["tensors a and b overlap"],
        ),
        (
            "same bytes twice",
            format!(r#"{{"a":{a},"b":{a}}}"#),
            4,
            &["tensors a and b overlap"],
        ),
        (
            "gap",
            format!(r#"{{"a":{a},"b":{}}}"#, entry("F32", "[1]", 6, 10)),
            10,
            &["2 bytes from byte 4", "belong to no tensor"],
        ),
        (
            "bytes after the last tensor",
            format!(r#"{{"a":{a}}}"#),
            7,
            &["3 bytes from byte 4", "belong to no tensor"],
        ),
        (
            "metadata is no map of strings",
            r#"{"__metadata__":{"a":1}}"#.to_owned(),
            0,
            &["header is not valid"],
        ),
    ];
    for (case, header, data, phrases) in cases {
        refuse(case, &with_header(header, &vec![0; *data]), phrases);
    }
}

#[test]
fn announced_lengths_are_checked_before_anything_is_allocated() {
    let file = |length: u64| [&length.to_le_bytes()[..], b"{}"].concat();
    refuse(
        "huge",
        &file(u64::MAX),
        &[
            "announce a header of 18446744073709551615 bytes",
            "limit of 100000000",
        ],
    );
    refuse("just over the limit", &file(100_000_001), &["limit of 100000000"]);
    refuse(
        "just over the file",
        &file(3),
        &["announced as 3 bytes", "only 2 bytes follow"],
    );
    assert!(Header::parse(&file(2)).unwrap().tensors.is_empty());
}

#[test]
fn invalid_utf8_is_refused() {
    let mut file = 2_u64.to_le_bytes().to_vec();
    file.extend([0xFF, 0xFE]);
    refuse("not UTF-8", &file, &["header is not valid", "utf-8"]);
}
