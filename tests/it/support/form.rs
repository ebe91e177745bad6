//! A browser's form, signed as the S3 API Reference says, as bytes on the wire.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::sigv4::{amz_date_of, signature_of};

const BOUNDARY: &str = "----WebKitFormBoundary7MA4YWxkTrZu0gW";

/// A form under construction; the policy has a condition for every field except those of [`Form::uncovered`].
#[derive(Clone, Debug)]
pub struct Form {
    bucket: String,
    fields: Vec<(String, String)>,
    uncovered: Vec<(String, String)>,
    conditions: Vec<String>,
    after: Vec<(String, String)>,
    /// Values sent instead of the signed ones.
    changed: Vec<(String, String)>,
    file: Vec<u8>,
    filename: String,
    keys: Option<(String, String)>,
    lives: Duration,
    headers: Vec<(String, String)>,
}

impl Form {
    /// Makes a form for `data/team/new`, signed by `TEAM`.
    #[must_use]
    pub fn new() -> Form {
        Form {
            bucket: "data".to_owned(),
            fields: Vec::new(),
            uncovered: Vec::new(),
            conditions: Vec::new(),
            after: Vec::new(),
            changed: Vec::new(),
            file: b"the file".to_vec(),
            filename: "photo.jpg".to_owned(),
            keys: Some(("TEAM".to_owned(), "TEAM-secret".to_owned())),
            lives: Duration::from_hours(1),
            headers: Vec::new(),
        }
    }

    #[must_use]
    pub fn key(self, key: &str) -> Form {
        self.field("key", key)
    }

    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Form {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a field that needs a condition of its own, or has none.
    #[must_use]
    pub fn uncovered(mut self, name: &str, value: &str) -> Form {
        self.uncovered.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a condition to the policy, as JSON.
    #[must_use]
    pub fn condition(mut self, json: &str) -> Form {
        self.conditions.push(json.to_owned());
        self
    }

    /// Adds a field after the file.
    #[must_use]
    pub fn after(mut self, name: &str, value: &str) -> Form {
        self.after.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Changes a field after it was signed, or leaves it out.
    #[must_use]
    pub fn change(mut self, name: &str, value: &str) -> Form {
        self.changed.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn file(self, content: &[u8]) -> Form {
        Form { file: content.to_vec(), ..self }
    }

    #[must_use]
    pub fn filename(self, name: &str) -> Form {
        Form { filename: name.to_owned(), ..self }
    }

    #[must_use]
    pub fn by(self, access_key: &str) -> Form {
        let secret = format!("{access_key}-secret");
        Form { keys: Some((access_key.to_owned(), secret)), ..self }
    }

    #[must_use]
    pub fn unsigned(self) -> Form {
        Form { keys: None, ..self }
    }

    #[must_use]
    pub fn expired(self) -> Form {
        Form { lives: Duration::ZERO, ..self }
    }

    /// Adds a header to the request.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Form {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Returns the request, to the path-style bucket.
    #[must_use]
    pub fn wire(&self) -> Vec<u8> {
        self.wire_to("/data", "127.0.0.1")
    }

    #[must_use]
    pub fn wire_to(&self, path: &str, host: &str) -> Vec<u8> {
        let body = self.body();
        let mut head = format!("POST {path} HTTP/1.1\r\nhost: {host}\r\n");
        let _ = write!(head, "content-type: {}\r\n", Form::content_type());
        let _ = write!(head, "content-length: {}\r\n", body.len());
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        [head.as_bytes(), b"\r\n", &body].concat()
    }

    #[must_use]
    pub fn content_type() -> String {
        format!("multipart/form-data; boundary={BOUNDARY}")
    }

    /// Returns a part of the body with this name and value.
    #[must_use]
    pub fn part(name: &str, value: &str) -> String {
        format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        )
    }

    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let mut body = String::new();
        for (name, value) in self.signed() {
            let changed = self.changed.iter().find(|(changed, _)| *changed == name);
            match changed.map(|(_, value)| value.as_str()) {
                Some("") => {}
                Some(value) => body += &Form::part(&name, value),
                None => body += &Form::part(&name, &value),
            }
        }
        let _ = write!(
            body,
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{}\"\r\n\
             Content-Type: image/jpeg\r\n\r\n",
            self.filename
        );
        let mut end = "\r\n".to_owned();
        for (name, value) in &self.after {
            end += &Form::part(name, value);
        }
        end += "--";
        end += BOUNDARY;
        end += "--\r\n";
        [body.as_bytes(), &self.file, end.as_bytes()].concat()
    }

    /// Returns all fields, including those of the signature.
    fn signed(&self) -> Vec<(String, String)> {
        let mut fields = self.fields.clone();
        let Some((access_key, secret)) = &self.keys else {
            fields.extend(self.uncovered.iter().cloned());
            return fields;
        };
        let now = SystemTime::now();
        let date = amz_date_of(now);
        let scope = format!("{}/us-east-1/s3/aws4_request", &date[..8]);
        for (name, value) in [
            ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
            ("x-amz-credential", &format!("{access_key}/{scope}")),
            ("x-amz-date", &date),
        ] {
            fields.push((name.to_owned(), value.to_owned()));
        }
        let mut conditions = vec![format!("{{\"bucket\": \"{}\"}}", self.bucket)];
        conditions.extend(fields.iter().map(|(name, value)| {
            let value = value.replace("${filename}", &self.filename);
            format!("{{\"{name}\": \"{value}\"}}")
        }));
        conditions.extend(self.conditions.iter().cloned());
        let ends = amz_date_of(now + self.lives);
        let ends = format!(
            "{}-{}-{}T{}:{}:{}Z",
            &ends[..4],
            &ends[4..6],
            &ends[6..8],
            &ends[9..11],
            &ends[11..13],
            &ends[13..15]
        );
        let conditions = conditions.join(", ");
        let policy = format!("{{\"expiration\": \"{ends}\", \"conditions\": [{conditions}]}}");
        let policy = STANDARD.encode(policy);
        let signature = signature_of(secret, &date, "us-east-1", &policy);
        fields.push(("policy".to_owned(), policy));
        fields.push(("x-amz-signature".to_owned(), signature));
        fields.extend(self.uncovered.iter().cloned());
        fields
    }
}
