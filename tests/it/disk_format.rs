//! `docs/disk-format.md` against segments that a server wrote: every offset used here is read from the page.

use std::fs;
use std::path::Path;

use ring::digest::{SHA256, digest};
use twox_hash::XxHash3_64;

use crate::support::{FakeS3, Object, Process, Scratch, within};

const PAGE: &str = "docs/disk-format.md";
const CHUNK: usize = 64 * 1024;
const OBJECTS: u64 = 24;
const SIZE: u64 = (2 << 20) + 12_345;

/// A table of the page: offset and size of each field, in bytes.
struct Layout {
    fields: Vec<(usize, usize)>,
    size: usize,
}

impl Layout {
    /// Reads the table below the heading with this beginning.
    fn read(heading: &str) -> Self {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
        let page = fs::read_to_string(page).unwrap();
        let (_, section) = page.split_once(&format!("\n### {heading}, ")).expect("the heading");
        let size: usize = section.split(' ').next().unwrap().parse().expect("its bytes");
        let table = section.split("\n### ").next().unwrap();
        let rows = table.lines().filter_map(|line| {
            let mut cells = line.split('|').skip(1).map(str::trim);
            Some((cells.next()?.parse().ok()?, cells.next()?.parse().ok()?))
        });
        let fields: Vec<(usize, usize)> = rows.collect();
        let mut end = 0;
        for (offset, bytes) in &fields {
            assert_eq!(*offset, end, "{heading} has no gaps");
            end += bytes;
        }
        assert_eq!(end, size, "{heading}");
        Self { fields, size }
    }

    fn bytes<'a>(&self, of: &'a [u8], field: usize) -> &'a [u8] {
        let (offset, bytes) = self.fields[field];
        &of[offset..offset + bytes]
    }

    fn number(&self, of: &[u8], field: usize) -> u64 {
        let bytes = self.bytes(of, field);
        bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// Returns the bytes that the checksum, the last field, covers.
    fn before_check<'a>(&self, of: &'a [u8]) -> &'a [u8] {
        &of[..self.fields.last().unwrap().0]
    }
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

fn sha(bytes: &[u8]) -> [u8; 16] {
    *digest(&SHA256, bytes).as_ref().first_chunk().unwrap()
}

/// Reads a sealed segment of blocks by the layout on the page; returns the numbers of its records and chunks.
fn read_segment(segment: &[u8]) -> (u64, u64) {
    let [head, record, frame] = ["Segment head", "Record head", "Chunk frame"].map(Layout::read);
    let [entry, tail] = ["Footer entry", "Tail"].map(Layout::read);

    assert_eq!(head.bytes(segment, 0), b"hotset\0s");
    assert_eq!((head.number(segment, 1), head.number(segment, 2)), (3, 1));
    assert_eq!(head.number(segment, 5), XxHash3_64::oneshot(head.before_check(segment)));

    let last = &segment[segment.len() - tail.size..];
    assert_eq!((tail.bytes(last, 0), tail.number(last, 1)), (&b"hsTl"[..], 3));
    let (entries, offset) = (tail.number(last, 2), tail.number(last, 3));
    let footer = &segment[size(offset)..segment.len() - tail.size];
    assert_eq!(footer.len(), size(entries) * entry.size);
    assert_eq!(tail.number(last, 4), XxHash3_64::oneshot_with_seed(offset, footer));

    let (mut at, mut chunks) = (head.size, 0);
    for entry_bytes in footer.chunks(entry.size) {
        assert_eq!(size(entry.number(entry_bytes, 0)), at, "records lie one behind another");
        let start = &segment[at..];
        assert_eq!((record.bytes(start, 0), record.number(start, 1)), (&b"hsRc"[..], 3));
        assert_eq!(record.number(start, 2), 1, "a block");
        let (key_length, data_length) = (record.number(start, 3), record.number(start, 5));
        assert_eq!(entry.number(entry_bytes, 1), key_length | 1 << 28);
        for (in_entry, in_record) in [(2, 4), (3, 5), (4, 6), (5, 7)] {
            assert_eq!(entry.bytes(entry_bytes, in_entry), record.bytes(start, in_record));
        }
        let key = &start[record.size..][..size(key_length)];
        let seed = XxHash3_64::oneshot(record.before_check(start));
        assert_eq!(record.number(start, 8), XxHash3_64::oneshot_with_seed(seed, key));
        let (version, index) = key.split_last_chunk::<8>().unwrap();
        let digest = sha(&[&sha(version)[..], index].concat());
        assert_eq!(record.bytes(start, 7), digest);

        let mut rest = &start[record.size + key.len()..];
        let (mut left, mut place) = (size(data_length), record.number(start, 4));
        while left > 0 {
            let (data, behind) = rest.split_at(left.min(CHUNK));
            assert_eq!((frame.bytes(behind, 0), frame.number(behind, 1)), (&b"hsFr"[..], 3));
            assert_eq!(
                (frame.number(behind, 3), frame.number(behind, 4)),
                (place, data.len() as u64)
            );
            assert_eq!(frame.bytes(behind, 5), &digest[..8]);
            let seed = XxHash3_64::oneshot(frame.before_check(behind));
            let seed = XxHash3_64::oneshot_with_seed(seed, &digest);
            assert_eq!(frame.number(behind, 6), XxHash3_64::oneshot_with_seed(seed, data));
            rest = &behind[frame.size..];
            (left, place, chunks) = (left - data.len(), place + data.len() as u64, chunks + 1);
        }
        at = segment.len() - rest.len();
    }
    assert_eq!(at, size(offset), "the footer follows the last record");
    (entries, chunks)
}

#[tokio::test]
async fn segments_are_as_the_page_on_the_disk_format_says() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    for n in 0..OBJECTS {
        s3.put("data", &format!("o{n}"), Object::random(SIZE, n));
    }
    let config = format!(
        "listen: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\n\
         origin: {{ endpoint: '{}' }}\ncache: {{ memory: 16MiB, in_flight: 64MiB, \
         admission: first-touch, disk: [{{ path: '{}', capacity: 256MiB }}] }}\n",
        s3.endpoint(),
        scratch.path("cache"),
    );
    let mut process = Process::serve(&scratch.file("hotset.yaml", &config)).await;
    for n in 0..OBJECTS {
        let read = process.client().get(&format!("/data/o{n}")).send().await;
        assert!(read.complete);
    }
    let written = async {
        while process.metric("hotset_disk_blocks").await < 1.0 {
            tokio::task::yield_now().await;
        }
    };
    within("blocks on disk", written).await;
    process.terminate();
    assert!(process.ended().await.success());

    let (mut records, mut chunks) = (0, 0);
    for file in fs::read_dir(scratch.path("cache/blocks")).unwrap() {
        let segment = fs::read(file.unwrap().path()).unwrap();
        let (more, of_them) = read_segment(&segment);
        (records, chunks) = (records + more, chunks + of_them);
    }
    assert!(records > 0 && chunks > records, "{records} records with {chunks} chunks");
}
