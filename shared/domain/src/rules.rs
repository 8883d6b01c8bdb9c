//! The rules that keep the promise: nobody's phone rings twice, no call is lost, every call ends.
//!
//! Each stands where it is kept, by its name. The simulation breaks them one by one and must notice each time:
//! that is how it is known to be worth something. In a program that ships they cannot be broken; the feature
//! `breakable-rules` is for tests only, and a release build refuses it.

#[cfg(all(feature = "breakable-rules", not(debug_assertions)))]
compile_error!("breakable-rules is for tests only");

macro_rules! rules {
    ($($name:ident: $text:literal,)*) => {
        /// A rule.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Rule {
            $(#[doc = $text] $name,)*
        }

        impl Rule {
            /// All rules.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What the rule says.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

rules! {
    // The conditions of the table's writes.
    CreateOnce: "A call is recorded only if there is none with its id.",
    ClaimPendingOnly: "Only a pending call can be claimed.",
    DialledInTimeOnly: "A call past its time is neither claimed nor dialled.",
    SaveNewerOnly: "A record is never overwritten by an older state.",
    SaveLiveOnly: "A record that is over is never overwritten.",
    EndPendingOnly: "Only a pending call can be expired, canceled or marked as not queued.",
    HolderIndexed: "A claimed call is found by its bridge and by its deadline.",

    // What a refused write means.
    OwnClaimKnown: "A claim that was written and repeated is known as one's own.",
    OwnSaveKnown: "A change that was written and repeated is known as one's own.",

    // From the client to the queue.
    RecordThenQueue: "A call is recorded before it is queued.",
    UnsentMarkedFailed: "A call that may not have been queued is marked, before its client is told that nobody is called.",
    ReplayQueuesAgain: "A request that is repeated queues its call again while that is pending.",
    LastSenderMarks: "A call is marked as not queued only by whoever sent it last.",

    // From the message to the dial.
    ClaimThenDial: "A call is claimed before it is dialled.",
    ClaimThenDelete: "A message is deleted only when its call is claimed or over.",
    UnansweredClaimNotDialled: "A claim without an answer is not taken for granted.",
    UnansweredClaimReturned: "The message of a claim without an answer is given back.",
    UnansweredClaimReconciled: "A claim without an answer, whose message does not come back, is left to reconciliation.",
    DialOnce: "A dial whose answer was lost is not repeated.",
    ExistingNotDone: "A channel that exists already does not mean that its call is done with.",
    FailureThenDelete: "The message of a call that failed is deleted only when that is recorded.",
    StartAwaitedForAWhile: "A channel's start is not waited for for ever.",
    DuplicateReturned: "A second delivery is not deleted while the first is at work.",
    OwnChannelOnly: "News of a channel that was given up is not taken for news of the next one.",
    PauseObeyed: "While calls are paused, no bridge takes a new one.",
    ClockCompared: "A bridge whose clock is minutes wrong takes no calls.",
    CircuitCloses: "What answers again is used again.",
    RefusedCreateWaits: "A call waits while Asterisk refuses to make its channel.",
    MissingProvenTwice: "An endpoint counts as missing only if Asterisk says so twice.",
    GivenBackSentAnew: "A message that is given back is sent anew before the queue gives it up.",
    ForbiddenNotDialled: "A call with a forbidden number or variable is never dialled.",
    RecordDecides: "A message that does not say what its record says calls nobody.",
    TargetAskedFirst: "Nobody is called for a dialplan target that does not exist.",
    DialSeenInTime: "A dial that no event confirms in time is ended.",

    // Following a call.
    NeverBack: "A status never goes back.",
    AnsweredIsCompleted: "An answered call is completed, whatever ends it.",
    NoAnswerNeedsAlert: "A call is not answered only if it rang.",
    UndialledNotRead: "The end of a channel that was not seen dialled is not its callee's.",
    OwnTimeoutIsNoAnswer: "A SIP code after a hangup of our own is not the callee's.",
    RefusalEndsLocal: "A callee that is busy behind a Local channel ends the call at once.",
    LimitGivenToAsterisk: "Asterisk, too, ends a call that outlives its limit.",
    AnswerRecordedFirst: "An answer is recorded before anything is played.",
    SentOnSurely: "An answered call is sent on, as often as it takes.",
    HungUpAfterMedia: "A call is hung up when there is nothing more to play.",
    EndsByItsDeadline: "A call is hung up at its deadline.",
    ClientObeyed: "A hangup is asked for again until its call is no longer followed.",

    // After something was lost.
    HeldReconciled: "A bridge looks for calls that it owns and does not follow.",
    ChannelsReconciled: "A bridge looks for channels of its own that no call has.",
    ResyncedOnReconnect: "A call is looked at again when events may have been missed.",
    LookNotStale: "What was seen of a channel counts only if its call has not moved on meanwhile.",
    GoneIsOver: "A call whose channel is gone is over.",
    LimitCountsFromAnswer: "A restart of its bridge does not prolong a call.",
    LeftChannelsFound: "A channel that has left the application is found by its call's record.",
    UnseenEndBounded: "An end that was not seen is dated no later than the call's limit.",
    NeverPlayedAgain: "What may have been played is not played again.",
    HangupTakesOn: "A hangup of a call that its bridge does not follow yet ends it as any other.",
    HangupRemembered: "A hangup that was wanted before its bridge was lost is asked for again.",
    WaitingSentOn: "An answered call that waits is sent on when its bridge is back.",
    BridgeAnnounced: "A bridge makes itself known before it takes calls.",
    NameLeased: "Of two processes with one name, one acts.",
    AsteriskLeased: "A name does not move to another Asterisk while its calls may be up.",
    SweptWhenPending: "A call that nobody takes expires.",
    SweptWhenLost: "A call whose bridge is gone for good is ended.",
    SweptAfterDeadlineOnly: "A call is not ended for another bridge before its deadline.",
}

/// Whether the rule is kept. It is.
#[cfg(not(feature = "breakable-rules"))]
#[must_use]
pub const fn kept(_: Rule) -> bool {
    true
}

/// Whether the rule is kept, by this thread.
#[cfg(feature = "breakable-rules")]
#[must_use]
pub fn kept(rule: Rule) -> bool {
    breaking::BROKEN.get() != Some(rule)
}

/// Breaks a rule on this thread, or none.
#[cfg(feature = "breakable-rules")]
pub fn break_rule(rule: Option<Rule>) {
    breaking::BROKEN.set(rule);
}

#[cfg(feature = "breakable-rules")]
mod breaking {
    use std::cell::Cell;

    use super::Rule;

    thread_local! {
        pub static BROKEN: Cell<Option<Rule>> = const { Cell::new(None) };
    }
}
