//! A response before it is sent: status, headers, and a body that is made while it is sent.
//!
//! Invariant: a response to HEAD has the head of the response to GET, and no body.

use super::http::xml_escape;
use super::{Object, Seen};
use bytes::Bytes;
use http::Method;
use std::ops::Range;

#[derive(Clone, Debug)]
pub(super) enum Body {
    None,
    Bytes(Bytes),
    Slice(Object, Range<u64>),
}

impl Body {
    pub(super) fn len(&self) -> u64 {
        match self {
            Body::None => 0,
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::Slice(_, range) => range.end - range.start,
        }
    }

    /// Writes the body's bytes from `position` on into `out`.
    pub(super) fn fill(&self, position: u64, out: &mut [u8]) {
        match self {
            Body::None => {}
            Body::Bytes(bytes) => {
                let start = usize::try_from(position).expect("a position within the bytes");
                out.copy_from_slice(&bytes[start..start + out.len()]);
            }
            Body::Slice(object, range) => object.fill(range.start + position, out),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Body,
}

impl Reply {
    pub(super) fn empty(status: u16) -> Reply {
        Reply { status, headers: Vec::new(), body: Body::None }
    }

    fn sized(status: u16, body: Body) -> Reply {
        let length = body.len().to_string();
        Reply { status, headers: vec![("Content-Length".into(), length)], body }
    }

    pub(super) fn whole(object: &Object) -> Reply {
        Reply::sized(200, Body::Slice(object.clone(), 0..object.len()))
    }

    /// Makes the 206 with this range, which is not empty.
    pub(super) fn part(object: &Object, range: Range<u64>) -> Reply {
        let content_range = format!("bytes {}-{}/{}", range.start, range.end - 1, object.len());
        let reply = Reply::sized(206, Body::Slice(object.clone(), range));
        reply.with("Content-Range", &content_range)
    }

    /// Sets a header.
    pub(super) fn with(mut self, name: &str, value: &str) -> Reply {
        self = self.without(name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn without(mut self, name: &str) -> Reply {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Removes the body when the method is HEAD; its length stays in the head.
    pub(super) fn for_method(mut self, method: &Method) -> Reply {
        if *method == Method::HEAD {
            self.body = Body::None;
        }
        self
    }

    /// Keeps only the first `length` bytes of the body, and a `Content-Length` that agrees.
    pub(super) fn shortened(mut self, length: u64) -> Reply {
        self.body = match self.body {
            Body::None => Body::None,
            Body::Bytes(bytes) => {
                Body::Bytes(bytes.slice(..usize::try_from(length).expect("shorter than the bytes")))
            }
            Body::Slice(object, range) => Body::Slice(object, range.start..range.start + length),
        };
        self.with("Content-Length", &length.to_string())
    }

    /// Flips a bit in the body's byte at `at`, if the body is that long.
    pub(super) fn with_flipped_bit(mut self, at: u64) -> Reply {
        let length = usize::try_from(self.body.len()).expect("a body that fits memory");
        if at < self.body.len() {
            let mut bytes = vec![0; length];
            self.body.fill(0, &mut bytes);
            bytes[usize::try_from(at).expect("below the length")] ^= 1;
            self.body = Body::Bytes(bytes.into());
        }
        self
    }

    /// Returns the object being sent.
    pub(super) fn object(&self) -> &Object {
        match &self.body {
            Body::Slice(object, _) => object,
            _ => unreachable!("asked only of replies that send an object"),
        }
    }
}

/// Makes a response with an XML document.
pub(super) fn xml(status: u16, root: &str) -> Reply {
    let document = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{root}");
    Reply::sized(status, Body::Bytes(document.into())).with("Content-Type", "application/xml")
}

/// Makes S3's error response. To HEAD it has neither body nor length.
pub(super) fn error(seen: &Seen, status: u16, code: &str, details: &[(&str, &str)]) -> Reply {
    if status == 304 || status == 204 {
        return Reply::empty(status);
    }
    if seen.method == Method::HEAD {
        return Reply::empty(status).with("Content-Type", "application/xml");
    }
    xml(status, &error_element(code, details, &seen.path))
}

pub(super) fn error_element(code: &str, details: &[(&str, &str)], resource: &str) -> String {
    let element = |(name, value): &(&str, &str)| format!("<{name}>{}</{name}>", xml_escape(value));
    let details: String = details.iter().map(element).collect();
    let inner = format!("<Code>{code}</Code><Message>{code}, says the origin.</Message>{details}");
    let resource = xml_escape(resource);
    format!(
        "<Error>{inner}<Resource>{resource}</Resource>\
         <RequestId>ORIGINREQUEST</RequestId><HostId>originhost</HostId></Error>"
    )
}
