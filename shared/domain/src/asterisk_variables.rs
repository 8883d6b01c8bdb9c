//! The channel variables that Asterisk or its modules read, and obey.
//!
//! A client that may set one of them decides on more than its own call. Asterisk writes
//! `SIPFROMDOMAIN` into the INVITE as it is, and runs `MONITOR_EXEC` as a shell command.
//! `TRANSFER_CONTEXT` says where a transfer by the callee goes. The list is taken from the sources of Asterisk 20, 22 and 23
//! (`pbx_builtin_getvar_helper` and its kin). A test compares it with the modules of the real
//! Asterisk that the tests run on.

/// Names, sorted.
const NAMES: [&str; 36] = [
    "ALERT_INFO",
    "ANSWEREDTIME",
    "ATTENDEDTRANSFER",
    "ATTENDED_TRANSFER_COMPLETE_SOUND",
    "AUTO_MONITOR",
    "BLINDTRANSFER",
    "CALLWAITDELUXEANNOUNCEMENT",
    "CALL_QUALIFIER",
    "CHANNEL",
    "CONTEXT",
    "DYNAMIC_FEATURES",
    "EAGI_AUDIO_FORMAT",
    "ENTITYID",
    "EPOCH",
    "EXITCONTEXT",
    "EXTEN",
    "FORWARD_CONTEXT",
    "GET_TRANSFERRER_DATA",
    "GOTO_ON_BLINDXFR",
    "GROUP",
    "HANGUPCAUSE",
    "HINT",
    "HINTNAME",
    "LOCALHEADERINFO",
    "LOCALSTATIONID",
    "PICKUPMARK",
    "PRIORITY",
    "REMOTESTATIONID",
    "SAY_DTMF_INTERRUPT",
    "SLATRUNK_STATUS",
    "SYSTEMNAME",
    "TESTTIME",
    "TRANSFER_CONTEXT",
    "TRANSFER_EXTEN",
    "UNIQUEID",
    "USERUSERINFO",
];

/// What whole families of names begin with.
const FAMILIES: [&str; 43] = [
    "AGENT",
    "AGI",
    "ALARMRECEIVER",
    "ARG",
    "AST",
    "BRIDGE",
    "CALLER_H323",
    "CALLING",
    "CC_",
    "CDR",
    "CONF_",
    "CONNECTED_LINE_",
    "DIAL",
    "DUNDI",
    "END_",
    "FAX",
    "FEATDMF",
    "GOSUB",
    "IAX",
    "IF_",
    "LIMIT_",
    "MACRO",
    "MEETME",
    "MFCR2_",
    "MONITOR_",
    "MORSE",
    "MVM_",
    "OSP",
    "OUTBOUND_GROUP",
    "PARKING",
    "PJSIP",
    "PRI_",
    "QUEUE",
    "REDIRECTING_",
    "SENDTEXT_",
    "SIP",
    "SPEECH_",
    "SPY",
    "SS7_",
    "T38",
    "TOUCH_",
    "VM_",
    "WHILE_",
];

/// Whether Asterisk or one of its modules reads the variable of this name, on this channel or, by
/// the leading `_`, on those that come of it. Names differ by case, as in Asterisk.
#[must_use]
pub fn is_read_by_asterisk(name: &str) -> bool {
    let name = name.trim_start_matches('_');
    NAMES.binary_search(&name).is_ok() || FAMILIES.iter().any(|family| name.starts_with(family))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_sorted_so_that_each_is_found() {
        assert!(NAMES.is_sorted() && FAMILIES.is_sorted());
        assert!(NAMES.iter().all(|name| is_read_by_asterisk(name)));
    }

    #[test]
    fn a_name_is_read_however_it_is_inherited() {
        for name in [
            "SIPFROMDOMAIN",
            "MONITOR_EXEC",
            "TRANSFER_CONTEXT",
            "TRANSFER_EXTEN",
        ] {
            for prefix in ["", "_", "__", "____"] {
                assert!(
                    is_read_by_asterisk(&format!("{prefix}{name}")),
                    "{prefix}{name}"
                );
            }
        }
        for name in ["IVR_NAME", "PATIENT_NAME", "ROOM", "sipfromdomain", "_", ""] {
            assert!(!is_read_by_asterisk(name), "{name}");
        }
    }
}
