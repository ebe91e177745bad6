//! The SNS envelope, and the text that its signature covers.
//!
//! Source: the SNS Developer Guide, "HTTP/HTTPS notification JSON format" and "Verifying the signatures of Amazon
//! SNS messages".

use std::borrow::Cow;

use serde::Deserialize;

use super::json;

/// An envelope, as SNS posts it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Envelope<'a> {
    /// `Notification`, `SubscriptionConfirmation` or `UnsubscribeConfirmation`.
    #[serde(borrow, rename = "Type")]
    pub kind: Cow<'a, str>,
    #[serde(borrow)]
    pub message_id: Cow<'a, str>,
    #[serde(borrow)]
    pub topic_arn: Cow<'a, str>,
    #[serde(default)]
    pub subject: Option<String>,
    /// The published message.
    #[serde(borrow)]
    pub message: Cow<'a, str>,
    #[serde(borrow)]
    pub timestamp: Cow<'a, str>,
    /// `1` (SHA-1) or `2` (SHA-256).
    #[serde(borrow)]
    pub signature_version: Cow<'a, str>,
    /// Signature in base64.
    #[serde(borrow)]
    pub signature: Cow<'a, str>,
    #[serde(borrow, rename = "SigningCertURL")]
    pub signing_cert_url: Cow<'a, str>,
    /// URL that confirms; of confirmations only.
    #[serde(default, rename = "SubscribeURL")]
    pub subscribe_url: Option<String>,
    /// Token; of confirmations only.
    #[serde(default)]
    pub token: Option<String>,
}

impl<'a> Envelope<'a> {
    /// Parses an envelope with all required fields.
    #[must_use]
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        if !json::is_shallow(text) {
            return None;
        }
        serde_json::from_str(text).ok()
    }

    /// Returns the text that is signed; `None` if a confirmation lacks a required field.
    #[must_use]
    pub fn signed_text(&self) -> Option<String> {
        let mut text = String::with_capacity(self.message.len() + 512);
        let mut line = |name: &str, value: &str| {
            for part in [name, "\n", value, "\n"] {
                text.push_str(part);
            }
        };
        line("Message", &self.message);
        line("MessageId", &self.message_id);
        if self.kind == "Notification" {
            if let Some(subject) = &self.subject {
                line("Subject", subject);
            }
        } else {
            line("SubscribeURL", self.subscribe_url.as_deref()?);
        }
        line("Timestamp", &self.timestamp);
        if self.kind != "Notification" {
            line("Token", self.token.as_deref()?);
        }
        line("TopicArn", &self.topic_arn);
        line("Type", &self.kind);
        Some(text)
    }
}
