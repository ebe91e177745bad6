//! Decoding of a message body into event records: detection of the format, and unwrapping of
//! envelopes.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::{Scalar, is_shallow};
use super::key::Encoding;
use super::notification::{
    BadRecord, Change, EventError, Format, MAX_RECORDS, Notification, ObjectEvent,
};
use super::object::{Bucket, Object, Told};
use super::records::{self, Read};

/// Maximum nested envelopes: a batch of Lambda's, of SQS, of SNS, of EventBridge.
const MAX_ENVELOPES: usize = 4;

/// Top-level fields of a message, over all formats.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Top<'a> {
    // S3, MinIO, Ceph, Lambda.
    #[serde(borrow, rename = "Records")]
    records: Option<&'a RawValue>,
    // `s3:TestEvent`; or a list of records, as MinIO writes them for Redis.
    #[serde(borrow, rename = "Event")]
    event: Option<&'a RawValue>,
    // SNS.
    #[serde(borrow, rename = "Type")]
    kind: Scalar<'a>,
    #[serde(borrow, rename = "Message")]
    sns_message: Scalar<'a>,
    // EventBridge.
    #[serde(borrow, rename = "detail-type")]
    detail_type: Scalar<'a>,
    #[serde(borrow)]
    source: Scalar<'a>,
    #[serde(borrow)]
    time: Scalar<'a>,
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
    // R2.
    #[serde(borrow)]
    action: Scalar<'a>,
    #[serde(borrow)]
    bucket: Scalar<'a>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
    #[serde(borrow, rename = "eventTime")]
    event_time: Scalar<'a>,
    // Pub/Sub.
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    // CloudEvents in structured mode.
    #[serde(borrow)]
    specversion: Scalar<'a>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

pub(super) fn decode(body: &[u8]) -> Result<Notification, EventError> {
    let text = std::str::from_utf8(body).map_err(|_| EventError::NotJson)?;
    let mut reader = Reader { events: Vec::new(), others: 0, bad: Vec::new() };
    let format = reader.message(text, 0)?;
    let Reader { events, others, mut bad } = reader;
    if events.is_empty() && others == 0 && !bad.is_empty() {
        return Err(EventError::Bad(bad.swap_remove(0)));
    }
    Ok(Notification { format, events, others, bad })
}

/// Collects the events of a message and of those nested in it.
struct Reader {
    events: Vec<ObjectEvent>,
    others: usize,
    bad: Vec<BadRecord>,
}

impl Reader {
    /// Decodes a message nested in `envelopes` others.
    fn message(&mut self, text: &str, envelopes: usize) -> Result<Format, EventError> {
        if envelopes > MAX_ENVELOPES || !is_shallow(text) {
            return Err(EventError::TooDeep);
        }
        if text.trim_start().starts_with('[') {
            return self.batch(&parse::<Vec<&RawValue>>(text)?, envelopes);
        }
        let top: Top<'_> = parse(text)?;
        if let Some(records) = top.records {
            return self.records(parse(records.get())?, envelopes);
        }
        if let Some(event) = top.event {
            return match parse::<Vec<&RawValue>>(event.get()) {
                Ok(records) => self.records(records, envelopes),
                Err(_) => self.test(event),
            };
        }
        if top.detail_type.text().is_some() {
            return self.eventbridge(&top);
        }
        match (top.kind.text(), &top.sns_message.0) {
            (Some("Notification"), Some(message)) => {
                self.message(message, envelopes + 1)?;
                return Ok(Format::Sns);
            }
            (Some("SubscriptionConfirmation" | "UnsubscribeConfirmation"), Some(_)) => {
                return self.add(Ok(None)).map(|()| Format::Sns);
            }
            _ => {}
        }
        if let (Some(_), Some(data)) = (top.specversion.text(), top.data) {
            self.message(data.get(), envelopes + 1)?;
            return Ok(Format::CloudEvents);
        }
        if let (Some(_), Some(object)) = (top.action.text(), top.object) {
            return self.r2(&top, object);
        }
        match top.message {
            Some(message) => self.pub_sub(message),
            None => Err(EventError::UnknownFormat),
        }
    }

    /// Decodes messages side by side; an empty one does not hide the others.
    fn batch(&mut self, messages: &[&RawValue], envelopes: usize) -> Result<Format, EventError> {
        let mut format = None;
        for message in messages {
            let read = self.inside(message.get(), envelopes + 1)?;
            format = format.or(read);
        }
        format.ok_or_else(|| match self.bad.pop() {
            Some(bad) => EventError::Bad(bad),
            None => EventError::UnknownFormat,
        })
    }

    /// Decodes a message beside others; `None`: it contains no event.
    fn inside(&mut self, text: &str, envelopes: usize) -> Result<Option<Format>, EventError> {
        match self.message(text, envelopes) {
            Ok(format) => Ok(Some(format)),
            Err(error @ (EventError::TooDeep | EventError::TooManyRecords)) => Err(error),
            Err(EventError::Bad(bad)) => self.add(Err(bad)).map(|()| None),
            Err(error) => self.add(Err(BadRecord::Inside(Box::new(error)))).map(|()| None),
        }
    }

    fn records(&mut self, records: Vec<&RawValue>, envelopes: usize) -> Result<Format, EventError> {
        let mut format = None;
        for raw in records {
            let of_record = match records::read(raw) {
                Ok(Read::Event(format, event)) => {
                    self.add(Ok(event))?;
                    format
                }
                Ok(Read::Message(message)) => {
                    self.inside(&message, envelopes + 1)?;
                    Format::Lambda
                }
                Err(bad) => {
                    self.add(Err(bad))?;
                    Format::S3
                }
            };
            format.get_or_insert(of_record);
        }
        Ok(format.unwrap_or(Format::S3))
    }

    fn test(&mut self, event: &RawValue) -> Result<Format, EventError> {
        match parse::<Cow<'_, str>>(event.get()).as_deref() {
            Ok("s3:TestEvent") => self.add(Ok(None)).map(|()| Format::Test),
            _ => Err(EventError::UnknownFormat),
        }
    }

    fn eventbridge(&mut self, top: &Top<'_>) -> Result<Format, EventError> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Detail<'a> {
            #[serde(borrow)]
            bucket: Bucket<'a>,
            #[serde(borrow)]
            object: Object<'a>,
            #[serde(borrow, rename = "deletion-type")]
            deletion_type: Scalar<'a>,
        }
        if top.source.text() != Some("aws.s3") {
            return Err(EventError::UnknownFormat);
        }
        let detail = top.detail.ok_or(EventError::Bad(BadRecord::Malformed))?;
        let detail: Detail<'_> = serde_json::from_str(detail.get())
            .map_err(|_| EventError::Bad(BadRecord::Malformed))?;
        let told = Told {
            name: &top.detail_type,
            time: &top.time,
            bucket: &detail.bucket.name,
            object: &detail.object,
            encoding: Encoding::Plain,
            unknown: Change::Nothing,
        };
        let mut event = told.event();
        if let (Ok(Some(event)), Some("Delete Marker Created")) =
            (&mut event, detail.deletion_type.text())
            && let Change::Removed { marker } = &mut event.change
        {
            *marker = true;
        }
        self.add(event).map(|()| Format::EventBridge)
    }

    fn r2(&mut self, top: &Top<'_>, object: &RawValue) -> Result<Format, EventError> {
        let object: Object<'_> = serde_json::from_str(object.get())
            .map_err(|_| EventError::Bad(BadRecord::Malformed))?;
        let told = Told {
            name: &top.action,
            time: &top.event_time,
            bucket: &top.bucket,
            object: &object,
            encoding: Encoding::Plain,
            unknown: Change::Created,
        };
        self.add(told.event()).map(|()| Format::R2)
    }

    /// Decodes a message of GCS, whose attributes hold the event, whatever its data (Cloud Storage, "Pub/Sub
    /// notifications").
    fn pub_sub(&mut self, message: &RawValue) -> Result<Format, EventError> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Message<'a> {
            #[serde(borrow)]
            attributes: Attributes<'a>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Attributes<'a> {
            #[serde(borrow)]
            event_type: Scalar<'a>,
            #[serde(borrow)]
            event_time: Scalar<'a>,
            #[serde(borrow)]
            bucket_id: Scalar<'a>,
            #[serde(borrow)]
            object_id: Scalar<'a>,
            #[serde(borrow)]
            object_generation: Scalar<'a>,
        }
        let message: Message<'_> = parse(message.get()).map_err(|_| EventError::UnknownFormat)?;
        let Attributes { event_type, event_time, bucket_id, object_id, object_generation } =
            message.attributes;
        if event_type.text().is_none() {
            return Err(EventError::UnknownFormat);
        }
        let object = Object::of(object_id, object_generation);
        let told = Told {
            name: &event_type,
            time: &event_time,
            bucket: &bucket_id,
            object: &object,
            encoding: Encoding::Plain,
            unknown: Change::Created,
        };
        self.add(told.event()).map(|()| Format::Gcs)
    }

    fn add(&mut self, read: Result<Option<ObjectEvent>, BadRecord>) -> Result<(), EventError> {
        if self.events.len() + self.others + self.bad.len() >= MAX_RECORDS {
            return Err(EventError::TooManyRecords);
        }
        match read {
            Ok(Some(event)) => self.events.push(event),
            Ok(None) => self.others += 1,
            Err(bad) => self.bad.push(bad),
        }
        Ok(())
    }
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, EventError> {
    serde_json::from_str(text).map_err(|_| EventError::NotJson)
}
