//! TLS on the admin port (`admin.tls`): subcommands, health checks, replicas, and files that change.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::*;

const TOKEN: &str = "made-up-token-over-tls";

struct Secured {
    s3: FakeS3,
    scratch: Scratch,
    authority: Authority,
    process: Process,
}

/// Returns the configuration of a server, or of a subcommand for the server at `address`.
fn text(s3: &FakeS3, address: &str, cert: &str, key: &str) -> String {
    format!(
        "listen: [{{ address: 127.0.0.1:0 }}]\n\
         admin: {{ address: '{address}', token: {TOKEN}, tls: {{ cert: '{cert}', key: '{key}', reload: 10ms }} }}\n\
         origin: {{ endpoint: '{}', backoff: {{ base: 1ms, cap: 10ms }} }}\n\
         log: {{ access: off }}\n",
        s3.endpoint(),
    )
}

impl Secured {
    async fn start() -> Self {
        let (s3, scratch) = (FakeS3::start().await, Scratch::new());
        s3.put("data", "k", Object::bytes("content"));
        let authority = Authority::new("admin");
        let (cert, key) = pair(&scratch, &authority, "admin");
        let config = scratch.file("hotset.yaml", &text(&s3, "127.0.0.1:0", &cert, &key));
        let process = Process::serve(&config).await;
        Self { s3, scratch, authority, process }
    }

    /// Writes a configuration for subcommands, with the certificate of this name; returns its path.
    fn asking(&self, name: &str) -> String {
        let [cert, key] = ["crt", "key"].map(|end| self.scratch.path(&format!("{name}.{end}")));
        let text = text(&self.s3, &self.process.admin.to_string(), &cert, &key);
        self.scratch.file(&format!("asking-{name}.yaml"), &text)
    }

    /// Returns the first line of the response to a request over TLS by a client that trusts this authority.
    async fn get(&self, authority: &Authority, path: &str) -> std::io::Result<String> {
        let mut stream = authority.client().connect(self.process.admin, "admin.test").await?;
        let head = format!("GET {path} HTTP/1.1\r\nHost: admin.test\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        let _ = within("an answer", stream.read_to_end(&mut answer)).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        Ok(answer.lines().next().unwrap_or_default().to_owned())
    }
}

/// Writes a certificate for `admin.test` and its key; returns their paths.
fn pair(scratch: &Scratch, authority: &Authority, name: &str) -> (String, String) {
    let pair = authority.sign(&["admin.test"]);
    let cert = scratch.file(&format!("{name}.crt"), &pair.cert);
    (cert, scratch.file(&format!("{name}.key"), &pair.key))
}

async fn command(arguments: Vec<String>) -> (i32, String, String) {
    let command = move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        run(hotset(&arguments))
    };
    tokio::task::spawn_blocking(command).await.unwrap()
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

#[tokio::test]
async fn all_of_the_port_speaks_tls_and_nothing_else() {
    let secured = Secured::start().await;
    let own = &secured.authority;
    for (path, status) in
        [("/", 200), ("/metrics", 200), ("/healthz", 200), ("/readyz", 200), ("/api/v1/stats", 401)]
    {
        let line = secured.get(own, path).await.unwrap();
        assert!(line.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {line}");
    }
    assert!(secured.get(&Authority::new("other"), "/healthz").await.is_err());
    // A plain HTTP request fails.
    let mut plain = TcpStream::connect(secured.process.admin).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = within("the end", plain.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"HTTP/"), "{answer:?}");
    // A silent connection blocks no other.
    let silent: Vec<TcpStream> = futures_util::future::join_all(
        (0..8).map(|_| async { TcpStream::connect(secured.process.admin).await.unwrap() }),
    )
    .await;
    assert!(secured.get(own, "/healthz").await.unwrap().starts_with("HTTP/1.1 200 "));
    drop(silent);
}

#[tokio::test]
async fn subcommands_trust_the_certificate_of_their_configuration_and_no_other() {
    let secured = Secured::start().await;
    let config = secured.asking("admin");
    for line in ["health", "stats --once --json", "purge s3://data/k", "log-level"] {
        let (code, out, err) = command(words(&format!("{line} --config {config}"))).await;
        assert_eq!(code, 0, "{line}: {out}{err}");
    }
    pair(&secured.scratch, &secured.authority, "other");
    let other = secured.asking("other");
    let (code, _, err) = command(words(&format!("purge s3://data/k --config {other}"))).await;
    assert!(code == 1 && err.contains("another certificate"), "{code}: {err}");
    // A health check sends no token, and uses nothing but the status.
    assert_eq!(command(words(&format!("health --config {other}"))).await.0, 0);
    // Other subcommands check names and authorities.
    let ca = secured.scratch.file("ca.pem", &secured.authority.pem());
    let port = secured.process.admin.port();
    let over = format!("stats --once --json --config {config} --admin https://127.0.0.1:{port}");
    let (code, _, err) = command(words(&format!("{over} --ca-file {ca}"))).await;
    assert!(code == 1 && err.contains("certificate"), "it is for admin.test: {err}");
}

#[tokio::test]
async fn a_renewed_certificate_and_other_files_are_used_without_a_restart() {
    let mut secured = Secured::start().await;
    let renewed = Authority::new("renewed");
    pair(&secured.scratch, &renewed, "admin");
    secured.process.logged("admin: tls: new certificates").await;
    assert!(secured.get(&renewed, "/healthz").await.is_ok());
    assert!(secured.get(&secured.authority, "/healthz").await.is_err());
    // A file that is broken changes nothing.
    secured.scratch.file("admin.crt", "nonsense");
    secured.process.logged("admin: tls: the certificates in use stay").await;
    assert!(secured.get(&renewed, "/healthz").await.is_ok());
    // A reload switches to other files.
    let other = Authority::new("other");
    let (cert, key) = pair(&secured.scratch, &other, "second");
    secured.scratch.file("hotset.yaml", &text(&secured.s3, "127.0.0.1:0", &cert, &key));
    secured.process.hang_up();
    secured.process.logged("0 wait for a restart").await;
    assert!(secured.get(&other, "/healthz").await.is_ok());
    assert!(secured.get(&renewed, "/healthz").await.is_err());
}

#[tokio::test]
async fn replicas_tell_each_other_by_tls_what_changed() {
    let (s3, scratch, authority) = (FakeS3::start().await, Scratch::new(), Authority::new("admin"));
    s3.put("data", "k", Object::bytes("old"));
    let (cert, key) = pair(&scratch, &authority, "admin");
    let ca = scratch.file("ca.pem", &authority.pem());
    let addresses: Vec<SocketAddr> =
        (0..2).map(|_| SocketAddr::from(([127, 0, 0, 1], unused_port()))).collect();
    let start = async |index: usize, name: &str| {
        let more = format!(
            "cluster: {{ peers: {addresses:?}, ca_file: '{ca}', server_name: {name} }}\n\
             rules: [{{ match: '**', freshness: immutable }}]\n"
        );
        let text = text(&s3, &addresses[index].to_string(), &cert, &key) + &more;
        Process::serve(&scratch.file(&format!("{index}.yaml"), &text)).await
    };
    let replicas = [start(0, "admin.test").await, start(1, "admin.test").await];
    let read = async |index: usize| replicas[index].client().get("/data/k").send().await;
    // Only with a lease of the other replica is anything a hit.
    for index in [0, 1] {
        within("a hit", async {
            while read(index).await.header("cache-status") != "hotset; hit" {}
        })
        .await;
    }
    let written = replicas[0].client().put("/data/k").body("new").send().await;
    assert_eq!(written.status, 200);
    assert_eq!(read(1).await.body, "new");
    // A replica that expects another name reports that it does not find it.
    let [_, second] = replicas;
    second.kill();
    let line = start(1, "other.test").await.logged("TLS: ").await;
    assert!(line.contains("certificate"), "{line}");
}
