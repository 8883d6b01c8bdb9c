//! A callee that answers and asks Asterisk to connect the caller with another number (REFER). That would be a call
//! at our cost, to a number of the callee's choice.

use std::sync::Arc;
use std::time::Duration;

use e2e::asterisk::What;
use e2e::world::number;
use e2e::{Line, Pbx, World};
use serde_json::json;

use crate::Suite;

pub fn add(suite: &mut Suite) {
    suite.add_asterisk("transfers::a_callee_transfers_nobody", refused);
    suite.add_asterisk("transfers::a_trunk_that_allows_it_is_seen", allowed);
}

/// Places a call to a callee that sends a REFER, and waits until it is over. Returns the status that the REFER was
/// answered with, and the number that the callee had asked for.
async fn refer(pbx: &Arc<Pbx>, line: Line, context: &str) -> (u16, String) {
    let world = World::start(pbx).await;
    let api = world.api(line).await;
    let to = number("204");
    let body = json!({"context": context, "extension": "s"});
    let id = api.place(&to, body).await;
    let call = api.wait_until_over(&id).await;
    assert_eq!(call["status"], "completed", "{call}");
    let asterisk = pbx.asterisk();
    let status = seen(|| {
        let mut referred = asterisk.logged(What::Refer).into_iter();
        referred.find(|referred| referred.to == to)?.status
    });
    let status = status.await;
    let target = to.strip_suffix("204").expect("its own digits").to_owned() + "486";
    assert_eq!(pbx.invites_to(&to), 1);
    (status, target)
}

/// Waits until something is to be seen.
async fn seen<T>(look: impl Fn() -> Option<T>) -> T {
    let seen = async {
        loop {
            if let Some(seen) = look() {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(30), seen).await;
    in_time.expect("it is seen in time")
}

async fn refused(pbx: Arc<Pbx>) {
    // Asterisk transfers only what is bridged: the second line has a bridge. The call lasts for two seconds more.
    for (line, context) in [(Line::Trunk, "hangup"), (Line::Local, "hangup")] {
        let (status, target) = refer(&pbx, line, context).await;
        assert_eq!((status, pbx.invites_to(&target)), (603, 0), "{line:?}");
    }
}

/// Without `allow_transfer = no` the other number rings: the test above can fail.
async fn allowed(pbx: Arc<Pbx>) {
    let (status, target) = refer(&pbx, Line::Local, "transferable").await;
    assert_eq!(status, 202);
    seen(|| (pbx.invites_to(&target) == 1).then_some(())).await;
}
