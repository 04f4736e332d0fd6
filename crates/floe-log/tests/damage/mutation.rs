//! Damages to the files of a store.

use std::{fmt, path::PathBuf};

use floe_log::disk::{Disk, MemoryDisk};

use crate::fixture::Fixture;

/// Deterministic generator (xorshift), so that a seed always gives the same damage.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        let mut rng = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x2545_F491_4F6C_DD1D);
        for _ in 0..8 {
            rng.next();
        }
        rng
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// Applied damage.
pub struct Mutation {
    pub kind: &'static str,
    pub paths: Vec<PathBuf>,
    detail: String,
}

impl fmt::Display for Mutation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {:?} {}", self.kind, self.paths, self.detail)
    }
}

const KINDS: [&str; 14] = [
    "flips",
    "flips",
    "zeroed page",
    "zeroed sector",
    "doubled page",
    "doubled sector",
    "truncation",
    "insertion",
    "cut middle",
    "swap",
    "missing file",
    "foreign file",
    "older file",
    "missing log",
];

impl Mutation {
    pub fn none() -> Self {
        Self { kind: "none", paths: Vec::new(), detail: String::new() }
    }

    /// Returns whether the catalog was replaced by one that is intact: its settings and offsets are then right for
    /// another time.
    pub fn replaces_catalog(&self) -> bool {
        self.kind.ends_with(" catalog")
    }

    /// Returns whether a segment and the acknowledged ends are gone together: nothing is left that tells where the log of
    /// that segment ended.
    pub fn leaves_no_witness_of_the_end(&self) -> bool {
        let is_hit = |end: &str| self.paths.iter().any(|path| path.to_string_lossy().ends_with(end));
        is_hit("/acked") && is_hit(".seg")
    }

    pub fn apply(random: &mut Rng, disk: &MemoryDisk, fixture: &Fixture) -> Self {
        if random.below(12) == 0 {
            return Self::replace_catalog(random, disk, fixture);
        }
        let kind = KINDS[random.below(KINDS.len())];
        if random.below(5) == 0 {
            return Self::damage_catalog(random, disk);
        }
        let mut files = disk.paths();
        files.retain(|path| {
            !path.ends_with("LOCK") && !path.ends_with("CLEAN") && !path.ends_with("meta.redb")
        });
        // Segments are most of a store.
        if random.below(4) > 0 {
            files.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
        }
        let path = files[random.below(files.len())].clone();
        let mut bytes = disk.contents(&path).unwrap();
        let mut paths = vec![path.clone()];
        let detail = match kind {
            "flips" | "zeroed page" | "zeroed sector" | "doubled page" | "doubled sector" | "truncation"
            | "insertion" | "cut middle" => {
                let detail = change(random, kind, &mut bytes);
                disk.put(&path, &bytes);
                detail
            }
            "swap" => {
                let other = files[random.below(files.len())].clone();
                let theirs = disk.contents(&other).unwrap();
                disk.put(&path, &theirs);
                disk.put(&other, &bytes);
                paths.push(other);
                String::new()
            }
            "missing log" => {
                let directory = path.parent().unwrap().to_path_buf();
                if directory.starts_with("/logs") {
                    disk.remove_dir_all(&directory).unwrap();
                }
                String::new()
            }
            _ => {
                let source = if kind == "foreign file" { &fixture.foreign } else { &fixture.older };
                match source.contents(&path).filter(|_| kind != "missing file") {
                    Some(contents) => disk.put(&path, &contents),
                    None => disk.remove_file(&path).unwrap(),
                }
                String::new()
            }
        };
        Self { kind, paths, detail }
    }

    fn damage_catalog(random: &mut Rng, disk: &MemoryDisk) -> Self {
        let path = PathBuf::from("/meta.redb");
        let mut bytes = disk.contents(&path).unwrap();
        let kind = KINDS[random.below(9)];
        let detail = change(random, kind, &mut bytes);
        disk.put(&path, &bytes);
        Self { kind: "catalog damage", paths: vec![path], detail: format!("({kind}) {detail}") }
    }

    fn replace_catalog(random: &mut Rng, disk: &MemoryDisk, fixture: &Fixture) -> Self {
        let path = PathBuf::from("/meta.redb");
        let kinds =
            ["older catalog", "foreign catalog", "missing catalog", "empty catalog", "garbage catalog"];
        let kind = kinds[random.below(kinds.len())];
        match kind {
            "older catalog" => disk.put(&path, &fixture.older.contents(&path).unwrap()),
            "foreign catalog" => disk.put(&path, &fixture.foreign.contents(&path).unwrap()),
            "missing catalog" => disk.remove_file(&path).unwrap(),
            "empty catalog" => disk.put(&path, b""),
            _ => disk.put(&path, &(0..random.below(20_000)).map(|_| random.next() as u8).collect::<Vec<_>>()),
        }
        Self { kind, paths: vec![path], detail: String::new() }
    }
}

/// Changes the bytes of one file; returns a description.
fn change(random: &mut Rng, kind: &str, bytes: &mut Vec<u8>) -> String {
    let len = bytes.len();
    if len == 0 {
        return "an empty file".to_owned();
    }
    let unit = if kind.ends_with("sector") { 512 } else { 4096 };
    let at = random.below(len) / unit * unit;
    let end = (at + unit).min(len);
    match kind {
        "flips" => {
            let mut flipped = Vec::new();
            for _ in 0..1 + random.below(3) {
                let (at, bit) = (random.below(len), random.below(8));
                bytes[at] ^= 1 << bit;
                flipped.push(at);
            }
            format!("at {flipped:?}")
        }
        "zeroed page" | "zeroed sector" => {
            bytes[at..end].fill(0);
            format!("{at}..{end}")
        }
        "doubled page" | "doubled sector" => {
            let copy = bytes[at..end].to_vec();
            bytes.splice(end..end, copy);
            format!("{at}..{end}")
        }
        "truncation" => {
            let at = random.below(len);
            bytes.truncate(at);
            format!("at {at} of {len}")
        }
        "insertion" => {
            let (at, count) = (random.below(len), 1 + random.below(300));
            let inserted: Vec<u8> = (0..count).map(|_| random.next() as u8).collect();
            bytes.splice(at..at, inserted);
            format!("of {count} at {at}")
        }
        _ => {
            let at = random.below(len);
            let end = (at + 1 + random.below(2_000)).min(len);
            bytes.drain(at..end);
            format!("{at}..{end}")
        }
    }
}
