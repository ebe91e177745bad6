//! Plan of an exchange: a fault, divided into its effects on each step.
//!
//! Invariant: without a fault every field has its default, and the exchange is a correct one.

use super::answer::Blind;
use super::reply::Reply;
use super::{Fault, Gate, Object, Pace};

/// End of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Close,
    Reset,
}

/// Action at an offset of the response body.
#[derive(Clone, Debug)]
pub(super) enum Stop {
    End(Ending),
    Hold(Gate),
    Replace(Object),
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub status: Option<(u16, &'static str)>,
    pub refuse_body: bool,
    pub hold_request_after: Option<(u64, Gate)>,
    pub hold_request: Option<Gate>,
    pub hold_header: Option<Gate>,
    pub pace: Option<Pace>,
    pub unanswered: Option<Ending>,
    /// Gate before the commit, and the error code if there is to be no commit.
    pub late: Option<(Gate, Option<&'static str>)>,
    pub blind: Blind,
    /// Actions in order of offset, once [`Plan::falsify`] has seen the reply.
    pub stops: Vec<(u64, Stop)>,
    pub extra_bytes: usize,
    pub chunked: bool,
    pub close_after: bool,
    edits: Vec<Fault>,
}

impl Plan {
    pub(super) fn of(fault: Option<Fault>) -> Plan {
        let mut plan = Plan::default();
        if let Some(fault) = fault {
            plan.add(fault);
        }
        plan
    }

    fn add(&mut self, fault: Fault) {
        match fault {
            Fault::Status(status, code) => self.status = Some((status, code)),
            Fault::RefuseBody(status, code) => {
                self.status = Some((status, code));
                self.refuse_body = true;
            }
            Fault::ResetBeforeAnswer => self.unanswered = Some(Ending::Reset),
            Fault::CloseBeforeAnswer => self.unanswered = Some(Ending::Close),
            Fault::CutAfter(at) => self.stops.push((at, Stop::End(Ending::Close))),
            Fault::ResetAfter(at) => self.stops.push((at, Stop::End(Ending::Reset))),
            Fault::StallAfter(at) => self.stops.push((at, Stop::Hold(Gate::new()))),
            Fault::HoldBodyAfter(at, gate) => self.stops.push((at, Stop::Hold(gate))),
            Fault::ChangeObjectAfter(at, object) => self.stops.push((at, Stop::Replace(object))),
            Fault::HoldRequestAfter(at, gate) => self.hold_request_after = Some((at, gate)),
            Fault::HoldRequest(gate) => self.hold_request = Some(gate),
            Fault::Paced(pace) => self.pace = Some(pace),
            Fault::HoldHeader(gate) => self.hold_header = Some(gate),
            Fault::LateCommit(gate) => self.late = Some((gate, None)),
            Fault::LateFailure(gate, code) => self.late = Some((gate, Some(code))),
            Fault::IgnoreRange => self.blind.range = true,
            Fault::IgnorePart => self.blind.part = true,
            Fault::IgnoreIfMatch => self.blind.if_match = true,
            Fault::TooManyBytes => self.extra_bytes = 1000,
            Fault::Chunked => self.chunked = true,
            Fault::CloseAfterAnswer => self.close_after = true,
            Fault::All(faults) => faults.into_iter().for_each(|fault| self.add(fault)),
            edit @ (Fault::WrongContentRange
            | Fault::ShortContentLength
            | Fault::LongContentLength
            | Fault::FlipBit(_)
            | Fault::WrongETag
            | Fault::SetHeader(..)
            | Fault::DropHeader(_)) => self.edits.push(edit),
        }
    }

    /// Falsifies the head of the response as planned. A body length that the head then announces wrongly becomes a
    /// stop at that offset.
    pub(super) fn falsify(&mut self, mut reply: Reply) -> Reply {
        for edit in std::mem::take(&mut self.edits) {
            reply = self.edit(reply, edit);
        }
        self.stops.sort_by_key(|(offset, _)| *offset);
        if self.chunked { reply.without("Content-Length") } else { reply }
    }

    fn edit(&mut self, reply: Reply, edit: Fault) -> Reply {
        let length = reply.header("Content-Length").and_then(|length| length.parse().ok());
        let length: u64 = length.unwrap_or(0);
        match edit {
            Fault::WrongContentRange => match reply.header("Content-Range").and_then(one_further) {
                Some(value) => reply.with("Content-Range", &value),
                None => reply,
            },
            Fault::ShortContentLength if length > 0 => reply.shortened(length - 1),
            Fault::LongContentLength => {
                self.stops.push((length, Stop::End(Ending::Close)));
                reply.with("Content-Length", &(length + 1).to_string())
            }
            Fault::FlipBit(at) => reply.with_flipped_bit(at),
            Fault::WrongETag => reply.with("ETag", "\"00000000000000000000000000000bad\""),
            Fault::SetHeader(name, value) => reply.with(name, &value),
            Fault::DropHeader(name) => reply.without(name),
            _ => reply,
        }
    }
}

/// Shifts a range: `bytes 0-9/100` -> `bytes 1-10/100`.
fn one_further(value: &str) -> Option<String> {
    let (range, size) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?);
    Some(format!("bytes {}-{}/{size}", first + 1, last + 1))
}
