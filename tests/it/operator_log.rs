//! The operator's log is for people: no message holds the debug output of a type.

use std::fs;
use std::path::{Path, PathBuf};

use http::Method;

use crate::support::*;

/// Returns the source files, without their tests.
fn sources() -> Vec<(PathBuf, String)> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
                sources.push((path, code));
            }
        }
    }
    sources
}

/// Returns the text from each of `starts` to the end of its macro or attribute.
fn pieces<'a>(code: &'a str, starts: &[&str]) -> Vec<&'a str> {
    let mut pieces = Vec::new();
    for start in starts {
        for (at, _) in code.match_indices(start) {
            let rest = &code[at..];
            let end = rest.find(");\n").or_else(|| rest.find(")]\n")).or_else(|| rest.find("),\n"));
            pieces.push(&rest[..end.unwrap_or(rest.len())]);
        }
    }
    pieces
}

#[test]
fn no_message_is_written_with_debug_output() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for (path, code) in sources() {
        for piece in pieces(&code, &["log::error!(", "log::warn!(", "log::info!("]) {
            seen += 1;
            if piece.contains(":?}") || piece.contains(":#?}") {
                wrong.push(format!("{}: {piece}", path.display()));
            }
        }
    }
    assert!(seen > 100, "{seen} messages are found");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Returns a mark of `Debug` output of options, results and structures in the line, which people do not write.
fn debug_output(line: &str) -> Option<&'static str> {
    let marks = ["Some(", "None,", "Ok(", "Err(", " { ", "Kind(", "Custom {", "Errno", "\\\""];
    marks.into_iter().find(|mark| line.contains(mark))
}

#[tokio::test]
async fn what_a_server_logs_in_trouble_is_text() {
    let (s3, scratch) = (FakeS3::start().await, Scratch::new());
    s3.put("data", "k", Object::random(5000, 1));
    s3.put("data", "broken", Object::random(5000, 2));
    let identities = scratch.file("token", "made-up-token-in-a-file");
    let text = format!(
        "listen: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0, token_file: '{identities}' }}\n\
         origin: {{ endpoint: '{}', backoff: {{ base: 1ms, cap: 2ms }} }}\nlog: {{ access: off }}\n",
        s3.endpoint()
    );
    let config = scratch.file("hotset.yaml", &text);
    let mut process = Process::serve(&config).await;
    let client = process.client();
    for (path, fault) in
        [("broken", Fault::ResetBeforeAnswer), ("broken", Fault::Status(503, "ServiceUnavailable"))]
    {
        s3.fault(Matcher::get(path), Times(20), fault);
        let _ = client.get(&format!("/data/{path}")).send().await;
    }
    let api = Api::with_token(process.admin, "made-up-token-in-a-file");
    assert_eq!(api.post("/api/v1/purge", r#"{"everything":true,"erase":true}"#).await.0, 200);
    assert_eq!(api.warm(r#"{"prefix":"s3://data/"}"#).await["state"], "done");
    assert_ne!(api.warm(r#"{"prefix":"s3://missing/"}"#).await["state"], "running");
    // An invalid file, a missing token, and a malformed request.
    fs::write(&config, "limits: { requests: many }").unwrap();
    process.hang_up();
    process.logged("the configuration stays as it is").await;
    fs::remove_file(&identities).unwrap();
    let closed = process.admin().get("/api/v1/stats").header("authorization", "Bearer x");
    assert_eq!(closed.send().await.status, 500);
    let _ = client.request(Method::PUT, "/data/k?acl").body("<nonsense").send().await;
    process.terminate();
    process.ended().await;
    let output = process.output();
    assert!(output.contains("warm "), "{output}");
    for line in output.lines() {
        assert_eq!(debug_output(line), None, "{line}");
    }
}
