//! Safetensors shards, written as a stream.

use std::fs::File;
use std::io::{BufWriter, IntoInnerError, Write as _};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use fathom_checkpoint::INDEX_FILE;
use serde_json::{Map, Value, json};

use crate::convert::{Content, Conversion, ConvertedTensor, Encoded, Unit, storage_name};
use crate::encode::{Error2, NotFinite, STRIP_ROWS, Strip};
use crate::error::QuantizeError;

/// A shard is closed before it exceeds this, unless one tensor does.
const SHARD_BYTES: usize = 2 << 30;

/// Bytes copied between two looks at whether to go on.
const COPY_BYTES: usize = 8 << 20;

/// Strips per thread and band: enough that a thread that is late holds up the others for a small part of the time.
const STRIPS_PER_THREAD: usize = 4;

/// Tensors whose size is a multiple of this start at a multiple of it, so that vector loads split no cache line.
const ALIGNMENT: usize = 64;

impl Conversion {
    /// Writes the shards and their index into `dir`. `progress` is told the bytes written so far and may stop it.
    ///
    /// Memory: a band of strips, a few tens of megabytes, one matrix's scales, and the one matrix being read.
    pub fn write(
        &self,
        dir: &Path,
        threads: usize,
        progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Vec<ConvertedTensor>, QuantizeError> {
        let shards = self.shards(SHARD_BYTES);
        let (mut weight_map, mut converted) = (Map::new(), Vec::new());
        let mut written = 0;
        for (index, shard) in shards.iter().enumerate() {
            let file = format!("model-{:05}-of-{:05}.safetensors", index + 1, shards.len());
            let path = dir.join(&file);
            for tensor in shard.iter().flat_map(|unit| &unit.tensors) {
                weight_map.insert(tensor.name.clone(), Value::from(file.as_str()));
            }
            let out = File::create_new(&path).map_err(QuantizeError::io(&path))?;
            let mut sink = Sink {
                out: BufWriter::with_capacity(1 << 20, out),
                path: &path,
                threads,
                written: &mut written,
                progress,
            };
            sink.put(&header(shard))?;
            for unit in shard {
                let read = match &unit.content {
                    Content::Copied(data) => {
                        data.chunks(COPY_BYTES).try_for_each(|part| sink.put(part))?;
                        data
                    }
                    Content::Encoded(encoded) => {
                        converted.push(sink.encode(unit, encoded)?);
                        &encoded.source.data
                    }
                };
                // A checkpoint may be larger than memory.
                read.release();
            }
            let out = sink.out.into_inner().map_err(IntoInnerError::into_error);
            // On the disk before the directory gets its name: a power cut must not leave a whole name over half a file.
            out.and_then(|out| out.sync_all())
                .map_err(QuantizeError::io(&path))?;
        }
        let index = json!({"metadata": {"total_size": self.bytes()}, "weight_map": weight_map});
        let path = dir.join(INDEX_FILE);
        std::fs::write(&path, format!("{index:#}\n")).map_err(QuantizeError::io(&path))?;
        Ok(converted)
    }

    fn shards(&self, limit: usize) -> Vec<Vec<&Unit>> {
        let mut shards: Vec<Vec<&Unit>> = Vec::new();
        let mut size = usize::MAX;
        for unit in &self.units {
            if size.saturating_add(unit.bytes()) > limit {
                shards.push(Vec::new());
                size = 0;
            }
            size += unit.bytes();
            if let Some(shard) = shards.last_mut() {
                shard.push(unit);
            }
        }
        for shard in &mut shards {
            shard.sort_by_key(|unit| {
                unit.tensors
                    .iter()
                    .any(|tensor| !tensor.bytes().is_multiple_of(ALIGNMENT))
            });
        }
        shards
    }
}

/// Length and header of a shard, padded so that the data starts aligned.
fn header(shard: &[&Unit]) -> Vec<u8> {
    let mut entries = Map::new();
    entries.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    let mut start = 0;
    for tensor in shard.iter().flat_map(|unit| &unit.tensors) {
        let end = start + tensor.bytes();
        let entry =
            json!({"dtype": tensor.dtype.name(), "shape": tensor.shape, "data_offsets": [start, end]});
        entries.insert(tensor.name.clone(), entry);
        start = end;
    }
    let mut text = Value::Object(entries).to_string();
    let padded = (size_of::<u64>() + text.len()).next_multiple_of(ALIGNMENT) - size_of::<u64>();
    text.extend(std::iter::repeat_n(' ', padded - text.len()));
    let mut header = (text.len() as u64).to_le_bytes().to_vec();
    header.extend_from_slice(text.as_bytes());
    header
}

struct Sink<'a> {
    out: BufWriter<File>,
    path: &'a Path,
    threads: usize,
    written: &'a mut u64,
    progress: &'a mut dyn FnMut(u64) -> ControlFlow<()>,
}

impl Sink<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), QuantizeError> {
        self.out.write_all(bytes).map_err(QuantizeError::io(self.path))?;
        *self.written += bytes.len() as u64;
        match (self.progress)(*self.written) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(QuantizeError::Stopped),
        }
    }

    /// Encodes a matrix band by band: its codes go out at once, its scales when they are complete.
    fn encode(&mut self, unit: &Unit, encoded: &Encoded) -> Result<ConvertedTensor, QuantizeError> {
        let (source, encoder) = (encoded.source.view(), encoded.encoder);
        let (rows, cols) = (source.rows, source.cols);
        let mut scales = vec![0; encoder.scale_bytes(rows, cols)];
        let mut row_scales = vec![0; encoder.row_scale_bytes(rows)];
        let band_rows = self.threads * STRIPS_PER_THREAD * STRIP_ROWS;
        let mut codes = vec![0; band_rows.min(rows) * encoder.row_bytes(cols)];
        let mut error = Error2::default();
        let (mut scales_left, mut row_scales_left) = (scales.as_mut_slice(), row_scales.as_mut_slice());
        for first in (0..rows).step_by(band_rows) {
            let count = band_rows.min(rows - first);
            let codes = &mut codes[..count * encoder.row_bytes(cols)];
            let mut codes_left = &mut *codes;
            let strips = (first..first + count).step_by(STRIP_ROWS).map(|first_row| {
                let rows = STRIP_ROWS.min(first + count - first_row);
                Strip {
                    first_row,
                    rows,
                    codes: codes_left
                        .split_off_mut(..rows * encoder.row_bytes(cols))
                        .unwrap_or_default(),
                    scales: scales_left
                        .split_off_mut(..encoder.scale_bytes(rows, cols))
                        .unwrap_or_default(),
                    row_scales: row_scales_left
                        .split_off_mut(..encoder.row_scale_bytes(rows))
                        .unwrap_or_default(),
                }
            });
            let outcome = each_strip(self.threads, strips.collect(), |strip| {
                strip.encode(&source, encoder)
            });
            error += outcome.map_err(|NotFinite { row }| QuantizeError::NotFinite {
                tensor: unit.tensors[0].name.clone(),
                row,
            })?;
            self.put(codes)?;
        }
        self.put(&scales)?;
        self.put(&row_scales)?;
        Ok(ConvertedTensor {
            part: encoded.part.clone(),
            group: encoded.group,
            from: storage_name(&encoded.source),
            to: encoded.format,
            shape: [rows, cols],
            error,
        })
    }
}

/// Encodes strips on several threads. Errors are added in the order of rows, whoever computed them.
fn each_strip(
    threads: usize,
    strips: Vec<Strip<'_>>,
    encode: impl Fn(&mut Strip<'_>) -> Result<Error2, NotFinite> + Sync,
) -> Result<Error2, NotFinite> {
    let jobs: Vec<_> = strips
        .into_iter()
        .map(|strip| Mutex::new((strip, None)))
        .collect();
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            // Each job is taken once: the lock is never waited for, and poisoned only when everything unwinds.
            if let Ok(mut job) = job.lock() {
                let outcome = encode(&mut job.0);
                job.1 = Some(outcome);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(jobs.len()) {
            scope.spawn(work);
        }
        work();
    });
    let mut sum = Error2::default();
    for job in jobs {
        if let Ok((_, Some(outcome))) = job.into_inner() {
            sum += outcome?;
        }
    }
    Ok(sum)
}
