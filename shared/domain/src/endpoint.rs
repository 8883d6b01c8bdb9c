//! What Asterisk dials: the endpoint of a call, made from a template.

use std::fmt;
use std::str::FromStr;

use crate::{Context, PhoneNumber};

/// An endpoint as ARI takes it, such as `PJSIP/15550000200@trunk`. Made only by
/// [`EndpointTemplate::render`], or read back from our own message or record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(String);

/// How a number becomes an endpoint: `DIAL_ENDPOINT`, with `{number}` once and `{context}`
/// at most once, such as `Local/{number}@{context}` or `PJSIP/{number}@trunk`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointTemplate(String);

/// Longest template or endpoint, in bytes.
pub const MAX_ENDPOINT_LENGTH: usize = 255;

/// The text is not an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be TECHNOLOGY/RESOURCE, at most 255 bytes, without '&', ',' or white space")]
pub struct InvalidEndpoint;

/// The text cannot be a template for endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be TECHNOLOGY/RESOURCE with {{number}} once and {{context}} at most once, such as PJSIP/{{number}}@trunk"
)]
pub struct InvalidEndpointTemplate;

impl Endpoint {
    /// The endpoint as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What an endpoint's call goes through, as ARI names it: `GET /endpoints/{technology}/{resource}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trunk {
    /// Such as `PJSIP`.
    pub technology: String,
    /// Such as `trunk`.
    pub resource: String,
}

impl fmt::Display for Trunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.technology, self.resource)
    }
}

/// The technology of a channel whose other half runs through the dialplan.
const LOCAL: &str = "Local/";

impl Endpoint {
    /// Whether a dialplan decides what is dialled.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.0.starts_with(LOCAL)
    }

    /// Whether Asterisk's SIP stack dials the endpoint itself.
    #[must_use]
    pub fn is_pjsip(&self) -> bool {
        self.0.starts_with("PJSIP/")
    }

    /// The technology, such as `PJSIP`.
    #[must_use]
    pub fn technology(&self) -> &str {
        self.0
            .split_once('/')
            .map_or("", |(technology, _)| technology)
    }

    /// The endpoint of Asterisk's configuration that the call goes through; `None` for a Local
    /// channel, which goes wherever the dialplan leads.
    ///
    /// In `PJSIP/…` it is what stands between the first two `/` if there is a second one
    /// (`PJSIP/trunk/sip:…`), otherwise what stands after the last `@`, otherwise all of it.
    #[must_use]
    pub fn trunk(&self) -> Option<Trunk> {
        if self.is_local() {
            return None;
        }
        let (technology, rest) = self.0.split_once('/')?;
        let resource = match (rest.split_once('/'), rest.rsplit_once('@')) {
            (Some((resource, _)), _) | (None, Some((_, resource))) => resource,
            (None, None) => rest,
        };
        Some(Trunk {
            technology: technology.to_owned(),
            resource: resource.to_owned(),
        })
    }

    /// The endpoint as it is dialled. A Local channel without options gets `/n`: without that
    /// option Asterisk takes our channel away as soon as the dialplan bridges its other half.
    #[must_use]
    pub fn as_dialled(&self) -> Self {
        let has_options = |rest: &str| rest.contains('/');
        match self.0.strip_prefix(LOCAL) {
            Some(rest) if !has_options(rest) => Self(format!("{}/n", self.0)),
            _ => self.clone(),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = text
            .split_once('/')
            .is_some_and(|(technology, resource)| !technology.is_empty() && !resource.is_empty());
        if named
            && text.len() <= MAX_ENDPOINT_LENGTH
            && text
                .bytes()
                .all(|b| b.is_ascii_graphic() && !matches!(b, b'&' | b','))
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidEndpoint)
        }
    }
}

impl FromStr for EndpointTemplate {
    type Err = InvalidEndpointTemplate;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let filled = text
            .replacen("{number}", "0", 1)
            .replacen("{context}", "c", 1);
        if text.contains("{number}")
            && !filled.contains(['{', '}'])
            && filled.parse::<Endpoint>().is_ok()
            // The longest number, the longest context and `/n` still have to fit.
            && text.len() + crate::phone_number::MAX_DIGITS + crate::dialplan::MAX_NAME_LENGTH
                + "/n".len()
                <= MAX_ENDPOINT_LENGTH
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidEndpointTemplate)
        }
    }
}

impl EndpointTemplate {
    /// The endpoint that reaches `number`. Neither argument can hold a character that
    /// means anything in a dial string, so the technology and the trunk stay the template's.
    #[must_use]
    pub fn render(&self, number: &PhoneNumber, context: &Context) -> Endpoint {
        let rendered = self
            .0
            .replace("{number}", number.as_str())
            .replace("{context}", context.as_str());
        Endpoint(rendered).as_dialled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str) -> String {
        let template: EndpointTemplate = template.parse().unwrap();
        let endpoint = template.render(
            &"+15550000200".parse().unwrap(),
            &"outbound-ivr".parse().unwrap(),
        );
        assert_eq!(endpoint.as_str().parse(), Ok(endpoint.clone()));
        endpoint.0
    }

    #[test]
    fn a_template_takes_the_number_and_the_context() {
        assert_eq!(
            render("Local/{number}@{context}"),
            "Local/+15550000200@outbound-ivr/n"
        );
        assert_eq!(
            render("Local/{number}@{context}/n"),
            "Local/+15550000200@outbound-ivr/n"
        );
        assert_eq!(
            render("Local/{number}@{context}/j"),
            "Local/+15550000200@outbound-ivr/j"
        );
        assert_eq!(render("PJSIP/{number}@trunk"), "PJSIP/+15550000200@trunk");
    }

    #[test]
    fn the_trunk_is_the_endpoint_of_asterisks_configuration() {
        let trunk = |text: &str| {
            let endpoint: Endpoint = text.parse().unwrap();
            endpoint.trunk().map(|trunk| trunk.to_string())
        };
        for (endpoint, expected) in [
            ("PJSIP/15550000200@trunk", Some("PJSIP/trunk")),
            ("PJSIP/a@b@trunk", Some("PJSIP/trunk")),
            ("PJSIP/trunk/sip:1@host", Some("PJSIP/trunk")),
            ("PJSIP/phone", Some("PJSIP/phone")),
            ("IAX2/peer/15550000200", Some("IAX2/peer")),
            ("Local/15550000200@ivr/n", None),
        ] {
            assert_eq!(trunk(endpoint).as_deref(), expected, "{endpoint}");
        }
    }

    #[test]
    fn a_template_that_would_not_dial_the_number_is_refused() {
        for text in [
            "",
            "PJSIP/trunk",
            "{number}",
            "/{number}",
            "PJSIP/{number}@{trunk}",
            "PJSIP/{number} @x",
            "PJSIP/{number}{number}",
            "PJSIP/{number}&PJSIP/x",
            "PJSIP/{number",
        ] {
            assert_eq!(
                text.parse::<EndpointTemplate>(),
                Err(InvalidEndpointTemplate),
                "{text:?}"
            );
        }
    }
}
