//! The embedded origin over a real socket. Signed requests through it are in `tests/clients`.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

const KEYS: Keys<'static> = Keys { access: "access", secret: "secret" };

/// A temporary folder, removed on drop.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("hotset-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        Self(folder)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

#[tokio::test]
async fn the_first_start_writes_the_samples_and_the_second_leaves_them() {
    let scratch = Scratch::new("samples");
    let folder = scratch.0.join("data");
    drop(start_with(listener().await, &folder, &KEYS, SMALL).await.unwrap());
    let written = |sample: &Sample| {
        std::fs::metadata(folder.join(BUCKET).join(sample.key)).unwrap().modified().unwrap()
    };
    let first: Vec<_> = SMALL.iter().map(written).collect();

    drop(start_with(listener().await, &folder, &KEYS, SMALL).await.unwrap());
    assert_eq!(SMALL.iter().map(written).collect::<Vec<_>>(), first);

    for sample in SMALL {
        let held = std::fs::read(folder.join(BUCKET).join(sample.key)).unwrap();
        assert_eq!(held.len() as u64, sample.size(), "{}", sample.key);
        assert_eq!(held, sample.pieces().collect::<Vec<_>>().concat(), "{}", sample.key);
    }
}

#[tokio::test]
async fn a_request_is_logged_with_its_range_status_and_bytes() {
    let scratch = Scratch::new("log");
    let origin = start_with(listener().await, &scratch.0.join("data"), &KEYS, &[]).await.unwrap();
    assert_eq!(origin.log_path(), scratch.0.canonicalize().unwrap().join("origin.log"));

    let mut client = TcpStream::connect(origin.address()).await.unwrap();
    let ask = "GET /samples/hello.txt HTTP/1.1\r\nhost: here\r\nrange: bytes=0-1, 5-6\r\n\
               connection: close\r\n\r\n";
    client.write_all(ask.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();

    let body = answer.split_once("\r\n\r\n").unwrap().1;
    assert!(answer.starts_with("HTTP/1.1 403"), "unsigned: {answer}");
    let line = format!("GET /samples/hello.txt bytes=0-1,5-6 403 {}\n", body.len());
    assert_eq!(std::fs::read_to_string(origin.log_path()).unwrap(), line);
}

#[tokio::test]
async fn a_dropped_origin_closes_its_port() {
    let scratch = Scratch::new("drop");
    let origin = start_with(listener().await, &scratch.0.join("data"), &KEYS, &[]).await.unwrap();
    let address = origin.address();
    let mut client = TcpStream::connect(address).await.unwrap();
    drop(origin);
    assert_eq!(client.read(&mut [0; 1]).await.unwrap_or(0), 0, "the connection ends");
}

#[tokio::test]
async fn a_suffix_longer_than_its_object_is_cut_to_it() {
    use s3s::access::S3Access as _;
    use s3s::dto::{GetObjectInput, Range};

    let scratch = Scratch::new("suffix");
    let folder = scratch.0.join("data");
    drop(start_with(listener().await, &folder, &KEYS, SMALL).await.unwrap());
    let access = CutSuffixes { sizes: open(&folder).unwrap() };
    for (key, asked, length) in
        [("hello.txt", 65_536, 26), ("hello.txt", 5, 5), ("not there", 7, 7)]
    {
        let input = GetObjectInput {
            bucket: BUCKET.to_owned(),
            key: key.to_owned(),
            range: Some(Range::Suffix { length: asked }),
            ..GetObjectInput::default()
        };
        let mut get = samples::request(input);
        access.get_object(&mut get).await.unwrap();
        assert_eq!(get.input.range, Some(Range::Suffix { length }), "{key}, {asked}");
    }
}

#[test]
fn samples_have_their_announced_sizes() {
    let sizes: Vec<_> = ALL.iter().map(Sample::size).collect();
    assert_eq!(sizes[3..], [5 << 20, 300 << 20]);
    assert!((100_000..105_000).contains(&sizes[1]), "the csv has {} bytes", sizes[1]);
    let mut pieces = ALL[4].pieces();
    assert_ne!(pieces.next(), pieces.next(), "pieces differ");
}

#[test]
fn the_banner_names_the_endpoint_and_the_keys_in_each_command() {
    let text = banner("http://127.0.0.1:9000", &KEYS);
    for tool in ["curl ", "aws CLI ", "boto3 "] {
        let line = text.lines().find(|line| line.starts_with(tool)).unwrap();
        assert!(line.contains("http://127.0.0.1:9000"), "{line}");
        assert!(line.contains(KEYS.access) && line.contains(KEYS.secret), "{line}");
    }
}
