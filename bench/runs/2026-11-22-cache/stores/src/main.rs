//! Stores compared on the cache's workload: pages of 449,824 bytes under keys of 32 bytes.
//! storebench write|read CANDIDATE DIR COUNT ; storebench rates DIR
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};
use xxhash_rust::xxh3::xxh3_64;

const PAGE: usize = 449_824;

fn key(i: usize) -> [u8; 32] {
    *blake3::hash(&(i as u64).to_le_bytes()).as_bytes()
}
/// Incompressible.
fn page(i: usize, out: &mut Vec<u8>) {
    out.clear();
    let mut s = (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    while out.len() < PAGE {
        s ^= s << 13;
        s ^= s >> 7;
        s ^= s << 17;
        out.extend_from_slice(&s.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    out.truncate(PAGE);
}
fn disk_bytes(dir: &Path) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    let (mut b, mut n) = (0, 0);
    let mut todo = vec![dir.to_path_buf()];
    while let Some(d) = todo.pop() {
        for e in fs::read_dir(d).unwrap() {
            let e = e.unwrap();
            let m = e.metadata().unwrap();
            if m.is_dir() {
                todo.push(e.path())
            } else {
                b += m.blocks() * 512;
                n += 1;
            }
        }
    }
    (b, n)
}
fn written() -> u64 {
    let s = fs::read_to_string("/proc/self/io").unwrap();
    s.lines()
        .find_map(|l| l.strip_prefix("wchar: "))
        .unwrap()
        .parse()
        .unwrap()
}
fn rss() -> u64 {
    let s = fs::read_to_string("/proc/self/status").unwrap();
    s.lines()
        .find_map(|l| l.strip_prefix("VmHWM:"))
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .trim()
        .parse::<u64>()
        .unwrap()
        / 1024
}

trait Store {
    fn put(&mut self, key: [u8; 32], value: &[u8]) -> Result<()>;
    fn close(self: Box<Self>) -> Result<()>;
    fn keys(&mut self) -> Result<Vec<[u8; 32]>>;
    fn get(&mut self, key: &[u8; 32]) -> Result<Option<Arc<[u8]>>>;
}

// --- own log: [magic, len, key, hash of payload, hash of header] payload, segments of 64 MiB; index in memory, found by walking headers
struct Log {
    dir: PathBuf,
    seg: Option<fs::File>,
    at: u64,
    id: u64,
    places: Vec<([u8; 32], u64, u64, u64, u64)>,
    map: std::collections::HashMap<[u8; 32], usize>,
    files: std::collections::HashMap<u64, fs::File>,
    buf: Vec<u8>,
}
const HEAD: usize = 128 + 512;
impl Log {
    fn open(dir: &Path) -> Result<Self> {
        let mut s = Log {
            dir: dir.into(),
            seg: None,
            at: 0,
            id: 0,
            places: vec![],
            map: Default::default(),
            files: Default::default(),
            buf: vec![0; PAGE],
        };
        let mut ids: Vec<u64> = fs::read_dir(dir)?
            .filter_map(|e| e.ok()?.file_name().to_str()?.strip_suffix(".seg")?.parse().ok())
            .collect();
        ids.sort();
        for id in ids {
            let f = fs::File::open(dir.join(format!("{id}.seg")))?;
            let end = f.metadata()?.len();
            let (mut at, mut h) = (0, [0u8; HEAD]);
            while at + (HEAD as u64) <= end {
                f.read_exact_at(&mut h, at)?;
                if u64::from_le_bytes(h[HEAD - 8..].try_into()?) != xxh3_64(&h[..HEAD - 8]) {
                    break;
                }
                let len = u64::from_le_bytes(h[8..16].try_into()?);
                let sum = u64::from_le_bytes(h[16..24].try_into()?);
                if at + HEAD as u64 + len > end {
                    break;
                }
                let k: [u8; 32] = h[24..56].try_into()?;
                s.map.insert(k, s.places.len());
                s.places.push((k, id, at + HEAD as u64, len, sum));
                at += HEAD as u64 + len;
            }
            s.files.insert(id, f);
            s.id = id + 1;
        }
        Ok(s)
    }
}
impl Store for Log {
    fn put(&mut self, key: [u8; 32], value: &[u8]) -> Result<()> {
        if self.seg.is_none() || self.at > 64 << 20 {
            if let Some(f) = self.seg.take() {
                f.sync_data()?;
            }
            self.seg = Some(fs::File::create_new(self.dir.join(format!("{}.seg", self.id)))?);
            self.id += 1;
            self.at = 0;
        }
        let mut h = [0u8; HEAD];
        h[8..16].copy_from_slice(&(value.len() as u64).to_le_bytes());
        h[16..24].copy_from_slice(&xxh3_64(value).to_le_bytes());
        h[24..56].copy_from_slice(&key);
        let sum = xxh3_64(&h[..HEAD - 8]);
        h[HEAD - 8..].copy_from_slice(&sum.to_le_bytes());
        let f = self.seg.as_mut().unwrap();
        f.write_all(&h)?;
        f.write_all(value)?;
        self.at += (HEAD + value.len()) as u64;
        Ok(())
    }
    fn close(self: Box<Self>) -> Result<()> {
        if let Some(f) = self.seg {
            f.sync_data()?;
        }
        Ok(())
    }
    fn keys(&mut self) -> Result<Vec<[u8; 32]>> {
        Ok(self.places.iter().map(|p| p.0).collect())
    }
    fn get(&mut self, key: &[u8; 32]) -> Result<Option<Arc<[u8]>>> {
        let Some(&i) = self.map.get(key) else {
            return Ok(None);
        };
        let (_, id, at, len, sum) = self.places[i];
        let _ = len;
        self.files[&id].read_exact_at(&mut self.buf, at)?;
        ensure!(xxh3_64(&self.buf) == sum, "damaged");
        Ok(Some(Arc::from(&self.buf[..])))
    }
}

// --- one file per object: temp, rename
struct Files {
    dir: PathBuf,
    buf: Vec<u8>,
}
impl Store for Files {
    fn put(&mut self, key: [u8; 32], value: &[u8]) -> Result<()> {
        let name: String = key.iter().map(|b| format!("{b:02x}")).collect();
        let tmp = self.dir.join(format!("{name}.tmp"));
        let mut f = fs::File::create_new(&tmp)?;
        let mut h = [0u8; HEAD];
        h[16..24].copy_from_slice(&xxh3_64(value).to_le_bytes());
        f.write_all(&h)?;
        f.write_all(value)?;
        f.sync_data()?;
        fs::rename(tmp, self.dir.join(name))?;
        Ok(())
    }
    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
    fn keys(&mut self) -> Result<Vec<[u8; 32]>> {
        let mut v = vec![];
        let mut h = [0u8; HEAD];
        for e in fs::read_dir(&self.dir)? {
            let n = e?.file_name().into_string().unwrap();
            if n.len() != 64 {
                continue;
            }
            let mut k = [0; 32];
            for i in 0..32 {
                k[i] = u8::from_str_radix(&n[2 * i..2 * i + 2], 16)?;
            }
            fs::File::open(self.dir.join(n))?.read_exact(&mut h)?;
            v.push(k);
        }
        Ok(v)
    }
    fn get(&mut self, key: &[u8; 32]) -> Result<Option<Arc<[u8]>>> {
        let name: String = key.iter().map(|b| format!("{b:02x}")).collect();
        let Ok(mut f) = fs::File::open(self.dir.join(name)) else {
            return Ok(None);
        };
        let mut h = [0u8; HEAD];
        f.read_exact(&mut h)?;
        f.read_exact(&mut self.buf)?;
        ensure!(
            xxh3_64(&self.buf) == u64::from_le_bytes(h[16..24].try_into()?),
            "damaged"
        );
        Ok(Some(Arc::from(&self.buf[..])))
    }
}

// --- redb: a commit every 16 pages
const T: redb::TableDefinition<&[u8; 32], &[u8]> = redb::TableDefinition::new("pages");
struct Redb {
    db: redb::Database,
    tx: Option<redb::WriteTransaction>,
    n: usize,
}
impl Store for Redb {
    fn put(&mut self, key: [u8; 32], value: &[u8]) -> Result<()> {
        if self.tx.is_none() {
            self.tx = Some(self.db.begin_write()?);
        }
        {
            let mut t = self.tx.as_ref().unwrap().open_table(T)?;
            let mut v = t.insert_reserve(&key, PAGE + 8)?;
            v.as_mut()[..PAGE].copy_from_slice(value);
            v.as_mut()[PAGE..].copy_from_slice(&xxh3_64(value).to_le_bytes());
        }
        self.n += 1;
        if self.n % 16 == 0 {
            self.tx.take().unwrap().commit()?;
        }
        Ok(())
    }
    fn close(mut self: Box<Self>) -> Result<()> {
        if let Some(t) = self.tx.take() {
            t.commit()?;
        }
        Ok(())
    }
    fn keys(&mut self) -> Result<Vec<[u8; 32]>> {
        use redb::{ReadableDatabase, ReadableTable};
        let r = self.db.begin_read()?;
        let Ok(t) = r.open_table(T) else { return Ok(vec![]) };
        t.iter()?.map(|e| Ok(*e?.0.value())).collect()
    }
    fn get(&mut self, key: &[u8; 32]) -> Result<Option<Arc<[u8]>>> {
        use redb::ReadableDatabase;
        let r = self.db.begin_read()?;
        let t = r.open_table(T)?;
        let Some(v) = t.get(key)? else { return Ok(None) };
        let v = v.value();
        ensure!(xxh3_64(&v[..PAGE]).to_le_bytes() == v[PAGE..], "damaged");
        Ok(Some(Arc::from(&v[..PAGE])))
    }
}

// --- fjall with key-value separation
struct Fjall {
    db: fjall::Database,
    ks: fjall::Keyspace,
}
impl Store for Fjall {
    fn put(&mut self, key: [u8; 32], value: &[u8]) -> Result<()> {
        let mut v = value.to_vec();
        v.extend_from_slice(&xxh3_64(value).to_le_bytes());
        self.ks.insert(key, v)?;
        Ok(())
    }
    fn close(self: Box<Self>) -> Result<()> {
        self.db.persist(fjall::PersistMode::SyncData)?;
        Ok(())
    }
    fn keys(&mut self) -> Result<Vec<[u8; 32]>> {
        self.ks
            .iter()
            .map(|g| Ok(g.key()?.as_ref().try_into()?))
            .collect()
    }
    fn get(&mut self, key: &[u8; 32]) -> Result<Option<Arc<[u8]>>> {
        let Some(v) = self.ks.get(key)? else {
            return Ok(None);
        };
        ensure!(xxh3_64(&v[..PAGE]).to_le_bytes() == v[PAGE..], "damaged");
        Ok(Some(Arc::from(&v[..PAGE])))
    }
}

// --- cacache, xxh3
struct Cacache {
    dir: PathBuf,
}
fn hex(k: &[u8; 32]) -> String {
    k.iter().map(|b| format!("{b:02x}")).collect()
}
impl Store for Cacache {
    fn put(&mut self, key: [u8; 32], value: &[u8]) -> Result<()> {
        cacache::write_sync_with_algo(cacache::Algorithm::Xxh3, &self.dir, hex(&key), value)?;
        Ok(())
    }
    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
    fn keys(&mut self) -> Result<Vec<[u8; 32]>> {
        cacache::list_sync(&self.dir)
            .map(|m| {
                let n = m?.key;
                let mut k = [0; 32];
                for i in 0..32 {
                    k[i] = u8::from_str_radix(&n[2 * i..2 * i + 2], 16)?;
                }
                Ok(k)
            })
            .collect()
    }
    fn get(&mut self, key: &[u8; 32]) -> Result<Option<Arc<[u8]>>> {
        match cacache::read_sync(&self.dir, hex(key)) {
            Ok(v) => Ok(Some(Arc::from(v))),
            Err(cacache::Error::EntryNotFound(..)) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

// --- foyer: blocks of 16 MiB, its queue raised from 32 MiB to 1 GiB
struct Foyer {
    rt: tokio::runtime::Runtime,
    c: foyer::HybridCache<Vec<u8>, Vec<u8>>,
}
impl Foyer {
    fn open(dir: &Path, queue: usize) -> Result<Self> {
        use foyer::*;
        let rt = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let dir = dir.to_owned();
        let c = rt.block_on(async move {
            let device = FsDeviceBuilder::new(&dir).with_capacity(1 << 30).build()?;
            let mut e = BlockEngineConfig::new(device)
                .with_block_size(16 << 20)
                .with_buffer_pool_size(64 << 20);
            if queue > 0 {
                e = e.with_submit_queue_size_threshold(queue);
            }
            anyhow::Ok(
                HybridCacheBuilder::new()
                    .with_policy(HybridCachePolicy::WriteOnInsertion)
                    .memory(1 << 20)
                    .with_weighter(|_: &Vec<u8>, v: &Vec<u8>| v.len())
                    .storage()
                    .with_engine_config(e)
                    .with_recover_mode(RecoverMode::Quiet)
                    .build()
                    .await?,
            )
        })?;
        Ok(Foyer { rt, c })
    }
}
impl Store for Foyer {
    fn put(&mut self, key: [u8; 32], value: &[u8]) -> Result<()> {
        self.c.insert(key.to_vec(), value.to_vec());
        Ok(())
    }
    fn close(self: Box<Self>) -> Result<()> {
        self.rt.block_on(self.c.close())?;
        Ok(())
    }
    fn keys(&mut self) -> Result<Vec<[u8; 32]>> {
        Ok(vec![])
    }
    fn get(&mut self, key: &[u8; 32]) -> Result<Option<Arc<[u8]>>> {
        Ok(self
            .rt
            .block_on(async { self.c.get(&key.to_vec()).await })?
            .map(|e| Arc::from(&e.value()[..])))
    }
}

fn open(name: &str, dir: &Path) -> Result<Box<dyn Store>> {
    fs::create_dir_all(dir)?;
    Ok(match name {
        "log" => Box::new(Log::open(dir)?),
        "files" => Box::new(Files {
            dir: dir.into(),
            buf: vec![0; PAGE],
        }),
        "redb" => Box::new(Redb {
            db: redb::Database::create(dir.join("db"))?,
            tx: None,
            n: 0,
        }),
        "fjall" => {
            let db = fjall::Database::builder(dir).open()?;
            let ks = db.keyspace("pages", || {
                fjall::KeyspaceCreateOptions::default()
                    .with_kv_separation(Some(fjall::KvSeparationOptions::default()))
            })?;
            Box::new(Fjall { db, ks })
        }
        "cacache" => Box::new(Cacache { dir: dir.into() }),
        "foyer" => Box::new(Foyer::open(dir, 0)?),
        "foyer-1g" => Box::new(Foyer::open(dir, 1 << 30)?),
        _ => anyhow::bail!("unknown candidate {name}"),
    })
}

fn gbs(bytes: usize, s: f64) -> String {
    format!("{:.2} GB/s", bytes as f64 / s / 1e9)
}

fn main() -> Result<()> {
    let a: Vec<String> = std::env::args().collect();
    if a[1] == "rates" {
        return rates(Path::new(&a[2]));
    }
    let (name, dir, n) = (&a[2][..], Path::new(&a[3]), a[4].parse::<usize>()?);
    match &a[1][..] {
        "write" => {
            let mut pages = vec![Vec::new(); 64];
            for (i, p) in pages.iter_mut().enumerate() {
                page(i, p);
            }
            let t = Instant::now();
            let mut s = open(name, dir)?;
            let (w0, opened) = (written(), t.elapsed().as_secs_f64());
            let t = Instant::now();
            for i in 0..n {
                let p = &mut pages[i % 64];
                p[..8].copy_from_slice(&(i as u64).to_le_bytes());
                s.put(key(i), p)?;
            }
            let put = t.elapsed().as_secs_f64();
            s.close()?;
            let closed = t.elapsed().as_secs_f64();
            let (b, files) = disk_bytes(dir);
            println!(
                "{name:9} write: open {opened:.3} s, puts {put:.2} s ({}), with close {closed:.2} s ({}), written x{:.3}, on disk x{:.3} in {files} files, peak rss {} MiB",
                gbs(n * PAGE, put),
                gbs(n * PAGE, closed),
                (written() - w0) as f64 / (n * PAGE) as f64,
                b as f64 / (n * PAGE) as f64,
                rss()
            );
        }
        "read" => {
            let t = Instant::now();
            let mut s = open(name, dir)?;
            let opened = t.elapsed().as_secs_f64();
            let t = Instant::now();
            let keys = s.keys()?.len();
            let enumerated = t.elapsed().as_secs_f64();
            let mut kept = Vec::with_capacity(n);
            let (mut wrong, mut failed) = (0, 0);
            let t = Instant::now();
            for i in 0..n {
                match s.get(&key(i)) {
                    Ok(Some(v)) => kept.push((i, v)),
                    Ok(None) => {}
                    Err(_) => failed += 1,
                }
            }
            let read = t.elapsed().as_secs_f64();
            let found = kept.len();
            let mut p = vec![];
            let mut pages = vec![];
            for i in 0..64 {
                page(i, &mut p);
                pages.push(p.clone());
            }
            for (i, v) in &kept {
                let p = &mut pages[i % 64];
                p[..8].copy_from_slice(&(*i as u64).to_le_bytes());
                if v[..] != p[..] {
                    wrong += 1;
                }
            }
            println!(
                "{name:9} read:  open {opened:.3} s, {keys} keys listed in {enumerated:.4} s, {found} of {n} read back in {read:.3} s ({}), wrong {wrong}, errors {failed}, peak rss {} MiB",
                gbs(found * PAGE, read),
                rss()
            );
        }
        _ => anyhow::bail!("write or read"),
    }
    Ok(())
}

/// What the machine gives: hashes, memory, disk.
fn rates(dir: &Path) -> Result<()> {
    let mut p = vec![];
    page(0, &mut p);
    let run = |name: &str, f: &mut dyn FnMut() -> u64| {
        let mut best = f64::MAX;
        let mut x = 0;
        for _ in 0..5 {
            let t = Instant::now();
            for _ in 0..200 {
                x ^= f();
            }
            best = best.min(t.elapsed().as_secs_f64());
        }
        println!("{name:28} {} ({x:x})", gbs(200 * PAGE, best));
    };
    run("xxhash-rust xxh3_64", &mut || xxh3_64(std::hint::black_box(&p)));
    run("xxhash-rust xxh3_128", &mut || {
        xxhash_rust::xxh3::xxh3_128(std::hint::black_box(&p)) as u64
    });
    run("crc32c", &mut || crc32c::crc32c(std::hint::black_box(&p)) as u64);
    run("crc-fast crc32c", &mut || {
        crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, std::hint::black_box(&p))
    });
    run("crc-fast crc64/nvme", &mut || {
        crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, std::hint::black_box(&p))
    });
    run("blake3", &mut || {
        blake3::hash(std::hint::black_box(&p)).as_bytes()[0] as u64
    });
    let mut q = p.clone();
    run("memcpy in cache", &mut || {
        q.copy_from_slice(std::hint::black_box(&p));
        q[7] as u64
    });
    let n = 1024;
    let path = dir.join("flat");
    let mut f = fs::File::create(&path)?;
    for _ in 0..n {
        f.write_all(&p)?;
    }
    f.sync_all()?;
    let mut f = fs::File::open(&path)?;
    let mut big = vec![0u8; 4 << 20];
    let t = Instant::now();
    loop {
        if f.read(&mut big)? == 0 {
            break;
        }
    }
    println!(
        "page cache, 4 MiB reads, reused buffer {}",
        gbs(n * PAGE, t.elapsed().as_secs_f64())
    );
    f.seek(SeekFrom::Start(0))?;
    for threads in [1, 2] {
        for how in ["zeroed arc", "reused then arc", "vec (not arc)"] {
            let t = Instant::now();
            let all: Vec<Vec<Arc<[u8]>>> = std::thread::scope(|s| {
                (0..threads)
                    .map(|k| {
                        let path = &path;
                        s.spawn(move || {
                            let f = fs::File::open(path).unwrap();
                            let mut buf = vec![0u8; PAGE];
                            let mut keep = vec![];
                            let mut v = vec![];
                            for i in (0..n).filter(|i| i * threads / n == k) {
                                let at = (i * PAGE) as u64;
                                match how {
                                    "zeroed arc" => {
                                        let mut a: Arc<[u8]> = std::iter::repeat_n(0u8, PAGE).collect();
                                        f.read_exact_at(Arc::get_mut(&mut a).unwrap(), at).unwrap();
                                        assert!(xxh3_64(&a) != 0);
                                        keep.push(a);
                                    }
                                    "vec (not arc)" => {
                                        let mut a = vec![0u8; PAGE];
                                        f.read_exact_at(&mut a, at).unwrap();
                                        assert!(xxh3_64(&a) != 0);
                                        v.push(a);
                                    }
                                    _ => {
                                        f.read_exact_at(&mut buf, at).unwrap();
                                        assert!(xxh3_64(&buf) != 0);
                                        keep.push(Arc::from(&buf[..]));
                                    }
                                }
                            }
                            std::mem::forget(v);
                            keep
                        })
                    })
                    .collect::<Vec<_>>()
                    .into_iter()
                    .map(|h| h.join().unwrap())
                    .collect()
            });
            println!(
                "page cache to fresh pages, hashed, {threads} threads, {how}: {}",
                gbs(n * PAGE, t.elapsed().as_secs_f64())
            );
            drop(all);
        }
    }
    for _ in 0..2 {
        rustix::fs::fadvise(&f, 0, None, rustix::fs::Advice::DontNeed).context("fadvise")?;
        f.seek(SeekFrom::Start(0))?;
        let t = Instant::now();
        loop {
            if f.read(&mut big)? == 0 {
                break;
            }
        }
        println!(
            "cold, sequential, 4 MiB reads {}",
            gbs(n * PAGE, t.elapsed().as_secs_f64())
        );
    }
    Ok(())
}
