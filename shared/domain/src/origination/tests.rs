use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{DialplanTarget, Priority, Variables};

const GONE: Input = Input::ChannelDestroyed;
const EXISTS: Input = Input::TargetChecked(TargetReply::Exists);

const fn returned(seconds: u64, reason: Option<WaitingReason>) -> Action {
    Action::ReturnMessage {
        after: Duration::from_secs(seconds),
        reason,
    }
}

fn request() -> CallRequest {
    CallRequest {
        id: Uuid::nil().into(),
        phone_number: "+15550000200".parse().unwrap(),
        endpoint: "PJSIP/15550000200@trunk".parse().unwrap(),
        target: DialplanTarget {
            context: "outbound-ivr".parse().unwrap(),
            extension: "s".parse().unwrap(),
            priority: Priority::try_from(1).unwrap(),
        },
        dial_timeout: Duration::from_secs(30),
        media: None,
        max_duration: None,
        variables: Variables::default(),
        caller_id: None,
        created_at: Timestamp::from_millis(0),
        dial_before: Timestamp::from_millis(1_000),
        request_id: String::new(),
        fingerprint: None,
    }
}

fn play(inputs: &[Input]) -> (Origination, Vec<Action>) {
    let (mut machine, mut actions) = Origination::start(
        &request(),
        None,
        RetryPolicy::default(),
        Timestamp::from_millis(1_000),
    );
    for input in inputs {
        actions.extend(machine.step(*input));
    }
    (machine, actions)
}

#[track_caller]
fn ends_with(inputs: &[Input], expected: &[Action]) {
    let (machine, actions) = play(inputs);
    assert!(machine.is_done(), "{actions:?}");
    assert_eq!(&actions[actions.len() - expected.len()..], expected);
}

#[test]
fn a_call_is_created_claimed_dialled_and_only_then_its_message_deleted() {
    let expected = [
        Action::CreateChannel,
        Action::AwaitStasisStart,
        Action::CheckTarget,
        Action::Claim,
        Action::Follow,
        Action::Dial(Duration::ZERO),
        Action::DeleteMessage,
    ];
    let answers = [
        Input::Created(CreateReply::Created),
        Input::StasisStarted,
        EXISTS,
        Input::ClaimReplied(ClaimReply::Claimed),
        Input::DialConfirmed,
        Input::DialReplied(DialReply::Dialled),
    ];
    let (machine, actions) = play(&answers);
    assert_eq!(actions, expected);
    assert!(machine.is_done());
}

#[test]
fn an_event_may_overtake_the_answer_that_it_belongs_to() {
    ends_with(
        &[
            Input::StasisStarted,
            Input::Created(CreateReply::Created),
            EXISTS,
            Input::ClaimReplied(ClaimReply::Claimed),
            Input::DialConfirmed,
            Input::DialReplied(DialReply::Lost),
        ],
        &[Action::Dial(Duration::ZERO), Action::DeleteMessage],
    );
}

#[test]
fn a_call_past_its_time_is_never_created() {
    let late = Timestamp::from_millis(1_001);
    let (mut machine, actions) = Origination::start(&request(), None, RetryPolicy::default(), late);
    assert_eq!(actions, [Action::RecordFailure(FailureReason::Expired)]);
    let settled = Input::FailureRecorded(RecordReply::Settled);
    assert_eq!(machine.step(settled), [Action::DeleteMessage]);
}

#[test]
fn a_lost_claim_hangs_up_the_channel_undialled() {
    ends_with(
        &[
            Input::StasisStarted,
            EXISTS,
            Input::ClaimReplied(ClaimReply::Refused),
        ],
        &[
            Action::Claim,
            Action::HangUpUndialled,
            Action::DeleteMessage,
        ],
    );
}

#[test]
fn a_store_that_does_not_answer_the_claim_sends_the_message_back() {
    ends_with(
        &[
            Input::StasisStarted,
            EXISTS,
            Input::ClaimReplied(ClaimReply::Unavailable),
        ],
        &[Action::HangUpUndialled, returned(5, None)],
    );
}

#[test]
fn a_create_is_repeated_three_times_with_growing_delays() {
    let lost = Input::Created(CreateReply::Unavailable);
    let (machine, actions) = play(&[
        lost,
        Input::RetryDue,
        lost,
        Input::RetryDue,
        lost,
        Input::RetryDue,
        lost,
    ]);
    assert!(machine.is_done());
    let delays: Vec<_> = actions
        .iter()
        .filter_map(|action| match action {
            Action::RetryCreate(delay) => Some(delay.as_millis()),
            _ => None,
        })
        .collect();
    assert_eq!(delays, [300, 600, 1_200]);
    assert_eq!(
        actions.last(),
        Some(&returned(5, Some(WaitingReason::AsteriskUnreachable)))
    );
}

#[test]
fn our_own_create_whose_answer_was_lost_is_used() {
    ends_with(
        &[
            Input::Created(CreateReply::Unavailable),
            Input::RetryDue,
            Input::Created(CreateReply::Exists),
            Input::StasisStarted,
            EXISTS,
            Input::ClaimReplied(ClaimReply::Claimed),
            Input::DialConfirmed,
            Input::DialReplied(DialReply::Dialled),
        ],
        &[
            Action::Claim,
            Action::Follow,
            Action::Dial(Duration::ZERO),
            Action::DeleteMessage,
        ],
    );
}

#[test]
fn a_channel_that_exists_is_hung_up_only_if_it_is_ours_and_nobody_claimed_the_call() {
    let again = returned(2, None);
    for (found, expected) in [
        (
            Inspection::Pending(ChannelOwner::ThisBridge),
            vec![Action::HangUpUndialled, again],
        ),
        (
            Inspection::Pending(ChannelOwner::AnotherBridge),
            vec![again],
        ),
        (Inspection::Pending(ChannelOwner::Nobody), vec![again]),
        (Inspection::Ours, vec![Action::DeleteMessage]),
        (
            Inspection::NotPending(ChannelOwner::AnotherBridge),
            vec![Action::DeleteMessage],
        ),
        (
            Inspection::NotPending(ChannelOwner::ThisBridge),
            vec![Action::HangUpUndialled, Action::DeleteMessage],
        ),
        (Inspection::Unavailable, vec![returned(5, None)]),
    ] {
        let mut all = vec![Action::CreateChannel, Action::Inspect];
        all.extend(expected);
        let inputs = [Input::Created(CreateReply::Exists), Input::Inspected(found)];
        assert_eq!(play(&inputs).1, all, "{found:?}");
    }
}

#[test]
fn a_dial_whose_answer_was_lost_is_not_repeated() {
    let lost = [
        Input::StasisStarted,
        EXISTS,
        Input::ClaimReplied(ClaimReply::Claimed),
        Input::DialReplied(DialReply::Lost),
    ];
    let (_, actions) = play(&lost);
    let awaited = Action::AwaitDialConfirmation(LOST_DIAL_EVENT_WITHIN);
    assert_eq!(actions.last(), Some(&awaited));
    ends_with(
        &[&lost[..], &[Input::DialConfirmed]].concat(),
        &[Action::DeleteMessage],
    );
    ends_with(
        &[&lost[..], &[Input::DialConfirmationTimedOut]].concat(),
        &[Action::HangUpUnconfirmed, Action::DeleteMessage],
    );
}

#[test]
fn a_dial_that_no_event_confirms_is_ended_and_its_message_deleted_once() {
    let dialled = [
        Input::StasisStarted,
        EXISTS,
        Input::ClaimReplied(ClaimReply::Claimed),
        Input::DialReplied(DialReply::Dialled),
    ];
    let (machine, actions) = play(&dialled);
    assert!(machine.awaits_confirmation_only());
    let expected = [
        Action::DeleteMessage,
        Action::AwaitDialConfirmation(DIAL_EVENT_WITHIN),
    ];
    assert!(actions.ends_with(&expected), "{actions:?}");
    ends_with(
        &[&dialled[..], &[Input::DialConfirmationTimedOut]].concat(),
        &[Action::HangUpUnconfirmed],
    );
    ends_with(&[&dialled[..], &[Input::DialConfirmed]].concat(), &expected);
}

#[test]
fn a_channel_that_dies_before_the_claim_leaves_the_call_in_the_queue() {
    ends_with(
        &[Input::StasisStarted, GONE],
        &[
            Action::CheckTarget,
            returned(2, Some(WaitingReason::AsteriskRefuses)),
        ],
    );
}

#[test]
fn a_channel_that_dies_during_the_claim_ends_the_claimed_call() {
    ends_with(
        &[
            Input::StasisStarted,
            EXISTS,
            GONE,
            Input::ClaimReplied(ClaimReply::Claimed),
        ],
        &[
            Action::Follow,
            Action::RecordDialFailure(FailureReason::NotDialled),
            Action::DeleteMessage,
        ],
    );
}

#[test]
fn a_forbidden_call_fails_before_a_channel_is_made() {
    let reason = FailureReason::NumberNotAllowed;
    let now = Timestamp::from_millis(0);
    let (_, actions) = Origination::start(&request(), Some(reason), RetryPolicy::default(), now);
    assert_eq!(actions, [Action::RecordFailure(reason)]);
}

#[test]
fn a_message_that_differs_from_its_record_calls_nobody() {
    ends_with(
        &[
            Input::StasisStarted,
            EXISTS,
            Input::ClaimReplied(ClaimReply::Mismatched),
        ],
        &[
            Action::HangUpUndialled,
            Action::Follow,
            Action::RecordDialFailure(FailureReason::MessageMismatch),
            Action::DeleteMessage,
        ],
    );
}

#[test]
fn nobody_is_called_for_a_target_that_does_not_exist() {
    let (_, actions) = play(&[
        Input::StasisStarted,
        Input::TargetChecked(TargetReply::Missing),
    ]);
    let expected = [
        Action::HangUpUndialled,
        Action::RecordFailure(FailureReason::ContextMissing),
    ];
    assert!(actions.ends_with(&expected), "{actions:?}");
    // One that cannot be asked about is taken to exist.
    let (_, actions) = play(&[
        Input::StasisStarted,
        Input::TargetChecked(TargetReply::Unknown),
    ]);
    assert_eq!(actions.last(), Some(&Action::Claim));
}

#[test]
fn what_is_played_to_needs_no_target() {
    let mut request = request();
    request.media = crate::Media::new(&["sound:hello-world"]).ok();
    let now = Timestamp::from_millis(0);
    let (mut machine, _) = Origination::start(&request, None, RetryPolicy::default(), now);
    assert_eq!(machine.step(Input::StasisStarted), [Action::Claim]);
}

#[test]
fn a_refused_create_waits_unless_its_endpoint_is_missing_twice() {
    let refused = Input::Created(CreateReply::Refused);
    let explained = Input::RefusalExplained;
    for reason in WaitingReason::ALL {
        ends_with(
            &[refused, explained(Refusal::Temporary(reason))],
            &[Action::ExplainRefusal, returned(5, Some(reason))],
        );
    }
    ends_with(
        &[refused, explained(Refusal::Unknown)],
        &[returned(5, Some(WaitingReason::AsteriskUnreachable))],
    );
    let missing = [refused, explained(Refusal::Missing), Input::RetryDue];
    let (machine, actions) = play(&missing);
    assert!(!machine.is_done());
    let again = [
        Action::RetryCreate(MISSING_AGAIN_AFTER),
        Action::CreateChannel,
    ];
    assert!(actions.ends_with(&again), "{actions:?}");
    for (last, expected) in [
        (Refusal::Missing, FailureReason::EndpointUnavailable),
        (Refusal::Unreachable, FailureReason::Unreachable),
    ] {
        let (_, actions) = play(&[&missing[..], &[refused, explained(last)]].concat());
        assert_eq!(actions.last(), Some(&Action::RecordFailure(expected)));
    }
    let (_, actions) = play(&[Input::Created(CreateReply::Invalid)]);
    let invalid = Action::RecordFailure(FailureReason::EndpointUnavailable);
    assert_eq!(actions.last(), Some(&invalid));
}

fn any_input() -> impl Strategy<Value = Input> {
    use proptest::sample::select;
    prop_oneof![
        select(vec![
            CreateReply::Created,
            CreateReply::Exists,
            CreateReply::Refused,
            CreateReply::Invalid,
            CreateReply::Unavailable
        ])
        .prop_map(Input::Created),
        select(vec![
            Refusal::Missing,
            Refusal::Unreachable,
            Refusal::Temporary(WaitingReason::TrunkUnavailable),
            Refusal::Unknown
        ])
        .prop_map(Input::RefusalExplained),
        select(vec![
            TargetReply::Exists,
            TargetReply::Missing,
            TargetReply::Unknown
        ])
        .prop_map(Input::TargetChecked),
        select(vec![
            ClaimReply::Claimed,
            ClaimReply::Mismatched,
            ClaimReply::Refused,
            ClaimReply::Unavailable
        ])
        .prop_map(Input::ClaimReplied),
        select(vec![
            DialReply::Dialled,
            DialReply::Gone,
            DialReply::Leaving,
            DialReply::Refused,
            DialReply::NotSent,
            DialReply::Lost
        ])
        .prop_map(Input::DialReplied),
        select(vec![
            Inspection::Ours,
            Inspection::Unavailable,
            Inspection::Pending(ChannelOwner::ThisBridge),
            Inspection::NotPending(ChannelOwner::AnotherBridge)
        ])
        .prop_map(Input::Inspected),
        select(vec![RecordReply::Settled, RecordReply::Unavailable])
            .prop_map(Input::FailureRecorded),
        select(vec![
            Input::RetryDue,
            Input::StasisStarted,
            Input::StasisStartTimedOut,
            Input::DialConfirmed,
            Input::DialConfirmationTimedOut,
            GONE
        ]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50_000))]

    #[test]
    fn whatever_comes_in_nobody_is_dialled_unclaimed_or_twice(
        inputs in proptest::collection::vec(any_input(), 0..20)
    ) {
        let (mut machine, mut log) =
            Origination::start(&request(), None, RetryPolicy::default(), Timestamp::from_millis(0));
        let mut claimed = false;
        let mut may_have_been_dialled = false;
        for input in inputs {
            let done = machine.is_done();
            let actions = machine.step(input);
            prop_assert!(!done || actions.is_empty(), "it acted after it was done");
            claimed |= log.contains(&Action::Claim) && input == Input::ClaimReplied(ClaimReply::Claimed);
            if input == Input::DialReplied(DialReply::NotSent) {
                may_have_been_dialled = false;
            }
            for action in &actions {
                match action {
                    Action::Dial(_) => {
                        prop_assert!(claimed && !may_have_been_dialled);
                        may_have_been_dialled = true;
                    }
                    Action::ReturnMessage { .. } => prop_assert!(!may_have_been_dialled),
                    Action::RecordFailure(_) => prop_assert!(!claimed),
                    _ => {}
                }
            }
            log.extend(actions);
        }
        let settled = log.iter().filter(|action| {
            matches!(action, Action::DeleteMessage | Action::ReturnMessage { .. })
        }).count();
        prop_assert!(settled <= 1, "{:?}", log);
        prop_assert!(!machine.is_done() || settled == 1, "{:?}", log);
        prop_assert!(settled == 0 || machine.is_done() || machine.awaits_confirmation_only());
    }
}
