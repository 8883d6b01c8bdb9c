//! What the `endpoint` parameter of a create names.

/// An endpoint that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `PJSIP/{number}@{trunk}`, `PJSIP/{trunk}/sip:{number}@…` or `PJSIP/{trunk}`.
    Trunk {
        /// The name of the trunk.
        trunk: String,
        /// The number that is dialled; empty if none was given.
        number: String,
        /// Whether a SIP address was given. Asterisk dials it even while the trunk is offline.
        has_address: bool,
    },
    /// `Local/{number}@{context}`, with or without `/n`.
    Local {
        /// The extension.
        number: String,
        /// The context that plays the callee.
        context: String,
        /// Whether `/n` was given: the channel then stays when its callee is bridged.
        stays: bool,
    },
}

/// Why an endpoint cannot be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// None was given.
    Empty,
    /// The technology or the resource is missing.
    Malformed,
    /// Asterisk has no such technology.
    UnknownTechnology,
}

/// Reads an endpoint.
///
/// # Errors
/// [`Unusable`] if Asterisk would refuse it without a look at its trunks.
pub fn parse(endpoint: &str) -> Result<Endpoint, Unusable> {
    if endpoint.is_empty() {
        return Err(Unusable::Empty);
    }
    let (technology, resource) = endpoint
        .split_once('/')
        .filter(|(technology, resource)| !technology.is_empty() && !resource.is_empty())
        .ok_or(Unusable::Malformed)?;
    match technology {
        "PJSIP" => Ok(trunk(resource)),
        "Local" => Ok(local(resource)),
        _ => Err(Unusable::UnknownTechnology),
    }
}

fn trunk(resource: &str) -> Endpoint {
    let (trunk, number, has_address) = match resource.split_once('/') {
        Some((trunk, address)) => {
            let address = address.split_once('@').map_or(address, |(user, _)| user);
            let number = address.split_once(':').map_or(address, |(_, user)| user);
            (trunk, number, true)
        }
        None => match resource.rsplit_once('@') {
            Some((number, trunk)) => (trunk, number, false),
            None => (resource, "", false),
        },
    };
    Endpoint::Trunk {
        trunk: trunk.to_owned(),
        number: number.to_owned(),
        has_address,
    }
}

fn local(resource: &str) -> Endpoint {
    let (place, options) = resource.split_once('/').unwrap_or((resource, ""));
    let (number, context) = place.split_once('@').unwrap_or((place, "default"));
    Endpoint::Local {
        number: number.to_owned(),
        context: context.to_owned(),
        stays: options.contains('n'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trunk(trunk: &str, number: &str, has_address: bool) -> Endpoint {
        Endpoint::Trunk {
            trunk: trunk.to_owned(),
            number: number.to_owned(),
            has_address,
        }
    }

    fn local(number: &str, context: &str, stays: bool) -> Endpoint {
        Endpoint::Local {
            number: number.to_owned(),
            context: context.to_owned(),
            stays,
        }
    }

    #[test]
    fn endpoints_are_read_as_asterisk_reads_them() {
        for (text, expected) in [
            ("PJSIP/+1555@trunk", Ok(trunk("trunk", "+1555", false))),
            ("PJSIP/a@b@trunk", Ok(trunk("trunk", "a@b", false))),
            ("PJSIP/+1555", Ok(trunk("+1555", "", false))),
            (
                "PJSIP/trunk/sip:+1555@10.0.0.1:5080",
                Ok(trunk("trunk", "+1555", true)),
            ),
            ("PJSIP/trunk/sip:+1555", Ok(trunk("trunk", "+1555", true))),
            ("Local/+1555@ivr", Ok(local("+1555", "ivr", false))),
            ("Local/+1555@ivr/n", Ok(local("+1555", "ivr", true))),
            ("Local/+1555@ivr/jn", Ok(local("+1555", "ivr", true))),
            ("Local/+1555@ivr/j", Ok(local("+1555", "ivr", false))),
            ("Local/+1555/n", Ok(local("+1555", "default", true))),
            ("", Err(Unusable::Empty)),
            ("PJSIP", Err(Unusable::Malformed)),
            ("PJSIP/", Err(Unusable::Malformed)),
            ("/x", Err(Unusable::Malformed)),
            ("SIP/1@trunk", Err(Unusable::UnknownTechnology)),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
