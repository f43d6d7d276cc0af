//! The header of a safetensors file.
//!
//! A file is an 8-byte little-endian header length, a JSON header, and the tensors' bytes. The format demands that the
//! tensors tile the rest of the file without gaps or overlaps, which is what makes truncation detectable; everything
//! is checked here, before any tensor is looked at. We do not use the `safetensors` crate's reader because it keeps
//! the last of two entries with one name, does not say which tensor is wrong, and lets a header choose how many
//! dimensions to allocate; tests and a fuzz target hold the two against each other: what is accepted here, that crate
//! accepts too.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::dtype::Dtype;

/// Longest header accepted, in bytes: the limit the format itself sets.
pub const HEADER_BYTES_MAX: usize = 100_000_000;
/// Most dimensions accepted; V4 tensors have at most three.
pub const RANK_MAX: usize = 8;

const LENGTH_BYTES: usize = 8;

/// A checked header: every tensor lies inside the file, and together they cover all of it.
#[derive(Debug)]
pub struct Header {
    /// Name → description.
    pub tensors: BTreeMap<String, TensorInfo>,
}

/// One tensor of a [`Header`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Element type.
    pub dtype: Dtype,
    /// Stored shape.
    pub shape: Vec<usize>,
    /// Where the tensor's bytes are, from the start of the file.
    pub range: Range<usize>,
}

/// Why a safetensors header was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderError {
    /// Not even the length field is there.
    #[error("expected at least 8 bytes (the header length), found {found}; the file is empty or was cut off")]
    NoLength {
        /// Size of the file in bytes.
        found: usize,
    },
    /// The header is said to be longer than the format allows.
    #[error(
        "its first 8 bytes announce a header of {length} bytes, more than the format's limit of {HEADER_BYTES_MAX}; \
         this is not a safetensors file, or its start is damaged"
    )]
    TooLong {
        /// Announced length.
        length: u64,
    },
    /// The header runs past the end of the file.
    #[error(
        "its header is announced as {length} bytes, but only {available} bytes follow; the file was cut off or is \
         not a safetensors file"
    )]
    Truncated {
        /// Announced length.
        length: u64,
        /// Bytes after the length field.
        available: usize,
    },
    /// The header is not valid JSON of the expected form.
    #[error("its header is not valid: {reason}")]
    Json {
        /// What the parser said, with the tensor's name where there is one.
        reason: String,
    },
    /// A tensor of a type that no V4 checkpoint uses.
    #[error(
        "tensor {tensor} has dtype {found}; a DeepSeek-V4 checkpoint holds only F32, BF16, F8_E4M3, F8_E8M0, I8 \
         (packed FP4), U8 (grouped integers), I32 and I64. Use the official checkpoint or convert the tensor"
    )]
    UnknownDtype {
        /// Tensor name.
        tensor: String,
        /// Its type as written in the header.
        found: String,
    },
    /// A tensor's offsets run backwards.
    #[error(
        "tensor {tensor} starts at byte {start} but ends at byte {end} of the data; the header is damaged"
    )]
    Backwards {
        /// Tensor name.
        tensor: String,
        /// First byte, from the start of the data.
        start: u64,
        /// One past the last byte.
        end: u64,
    },
    /// A tensor lies (partly) outside the file.
    #[error(
        "tensor {tensor} ends at byte {end} of the data, but the file holds only {available}; the file was cut off: \
         download it again"
    )]
    BeyondEnd {
        /// Tensor name.
        tensor: String,
        /// One past its last byte, from the start of the data.
        end: u64,
        /// Bytes of data in the file.
        available: usize,
    },
    /// The byte range of a tensor does not fit its shape and type.
    #[error(
        "tensor {tensor} is {dtype} {shape:?}, which takes {expected} bytes, but its offsets give it {found}"
    )]
    WrongSize {
        /// Tensor name.
        tensor: String,
        /// Element type.
        dtype: Dtype,
        /// Stored shape.
        shape: Vec<usize>,
        /// Bytes by shape and type; `None` if they do not fit 64 bits.
        expected: SizeOrOverflow,
        /// Bytes by offsets.
        found: u64,
    },
    /// Two tensors share bytes.
    #[error("tensors {first} and {second} overlap in the file; the header is damaged")]
    Overlap {
        /// The tensor that starts first.
        first: String,
        /// The tensor that starts before `first` ends.
        second: String,
    },
    /// Bytes between (or after) the tensors belong to none of them.
    #[error(
        "{count} bytes from byte {start} of the data belong to no tensor; the format allows no gaps, so the header \
         is damaged or data was appended"
    )]
    Gap {
        /// First such byte, from the start of the data.
        start: usize,
        /// How many.
        count: usize,
    },
}

/// A byte count, or the remark that it does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeOrOverflow {
    /// So many bytes.
    Bytes(u64),
    /// More than 2^64 − 1.
    Overflow,
}

impl fmt::Display for SizeOrOverflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{bytes}"),
            Self::Overflow => f.write_str("more than 2^64"),
        }
    }
}

impl Header {
    /// Parses and checks the header of `file`, the bytes of a whole safetensors file.
    ///
    /// Reads nothing behind the header. Memory is bounded by a small multiple of the header, which must itself be
    /// inside the file.
    pub fn parse(file: &[u8]) -> Result<Self, HeaderError> {
        let Some((length, rest)) = file.split_first_chunk::<LENGTH_BYTES>() else {
            return Err(HeaderError::NoLength { found: file.len() });
        };
        let length = u64::from_le_bytes(*length);
        if length > HEADER_BYTES_MAX as u64 {
            return Err(HeaderError::TooLong { length });
        }
        let Some((header, data)) = rest.split_at_checked(length as usize) else {
            return Err(HeaderError::Truncated {
                length,
                available: rest.len(),
            });
        };
        let text = std::str::from_utf8(header).map_err(|error| HeaderError::Json {
            reason: error.to_string(),
        })?;
        let entries: Entries<'_> = serde_json::from_str(text).map_err(|error| HeaderError::Json {
            reason: error.to_string(),
        })?;

        let data_start = LENGTH_BYTES + header.len();
        let mut tensors = BTreeMap::new();
        for (name, entry) in entries.0 {
            let info = check(&name, &entry, data.len(), data_start)?;
            tensors.insert(name, info);
        }
        check_tiling(&tensors, data_start, data.len())?;
        Ok(Self { tensors })
    }
}

fn check(
    name: &str,
    entry: &Entry<'_>,
    available: usize,
    data_start: usize,
) -> Result<TensorInfo, HeaderError> {
    let tensor = || name.to_owned();
    let Some(dtype) = Dtype::from_name(&entry.dtype) else {
        return Err(HeaderError::UnknownDtype {
            tensor: tensor(),
            found: entry.dtype.clone().into_owned(),
        });
    };
    let (start, end) = entry.data_offsets;
    if start > end {
        return Err(HeaderError::Backwards {
            tensor: tensor(),
            start,
            end,
        });
    }
    if end > available as u64 {
        return Err(HeaderError::BeyondEnd {
            tensor: tensor(),
            end,
            available,
        });
    }
    let elements = entry
        .shape
        .0
        .iter()
        .try_fold(1_u64, |product, &size| product.checked_mul(size));
    let expected = elements.and_then(|count| count.checked_mul(dtype.size() as u64));
    // Offsets are inside the file, so from here on every size fits `usize`.
    let shape: Vec<usize> = entry.shape.0.iter().map(|&size| size as usize).collect();
    if expected != Some(end - start) {
        return Err(HeaderError::WrongSize {
            tensor: tensor(),
            dtype,
            shape,
            expected: expected.map_or(SizeOrOverflow::Overflow, SizeOrOverflow::Bytes),
            found: end - start,
        });
    }
    Ok(TensorInfo {
        dtype,
        shape,
        range: data_start + start as usize..data_start + end as usize,
    })
}

/// The tensors must follow one another from the first byte of the data to the last.
fn check_tiling(
    tensors: &BTreeMap<String, TensorInfo>,
    data_start: usize,
    available: usize,
) -> Result<(), HeaderError> {
    let mut by_position: Vec<_> = tensors.iter().collect();
    by_position.sort_by_key(|(_, info)| (info.range.start, info.range.end));
    let mut end = data_start;
    let mut last = "";
    for (name, info) in by_position {
        if info.range.start < end {
            return Err(HeaderError::Overlap {
                first: last.to_owned(),
                second: name.clone(),
            });
        }
        if info.range.start > end {
            return Err(HeaderError::Gap {
                start: end - data_start,
                count: info.range.start - end,
            });
        }
        end = info.range.end;
        last = name;
    }
    let unclaimed = data_start + available - end;
    if unclaimed > 0 {
        return Err(HeaderError::Gap {
            start: end - data_start,
            count: unclaimed,
        });
    }
    Ok(())
}

/// The header as JSON: names in file order, duplicates refused.
struct Entries<'a>(Vec<(String, Entry<'a>)>);

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    dtype: Cow<'a, str>,
    shape: Shape,
    data_offsets: (u64, u64),
}

struct Shape(Vec<u64>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from tensor names to {dtype, shape, data_offsets}")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut seen = std::collections::BTreeSet::new();
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !seen.insert(name.clone()) {
                        return Err(de::Error::custom(format_args!("tensor {name} is listed twice")));
                    }
                    if name == "__metadata__" {
                        map.next_value::<BTreeMap<String, String>>()?;
                        continue;
                    }
                    let entry = map
                        .next_value()
                        .map_err(|error| de::Error::custom(format_args!("tensor {name}: {error}")))?;
                    entries.push((name, entry));
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor)
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ShapeVisitor;

        impl<'de> Visitor<'de> for ShapeVisitor {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {RANK_MAX} sizes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut shape = Vec::new();
                while let Some(size) = seq.next_element()? {
                    if shape.len() == RANK_MAX {
                        return Err(de::Error::custom(format_args!(
                            "it has more than {RANK_MAX} dimensions"
                        )));
                    }
                    shape.push(size);
                }
                Ok(Shape(shape))
            }
        }

        deserializer.deserialize_seq(ShapeVisitor)
    }
}
