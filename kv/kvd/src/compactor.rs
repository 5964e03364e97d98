//! Forgetting history by itself, and taking the space alarm back when there is space again. Leader only.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use kv_api::{
    etcdserverpb::{AlarmRequest, AlarmType, CompactionRequest, alarm_request::AlarmAction},
    internal::op,
};
use tokio::time::Instant;

use crate::{config::Retention, server::Core};

/// Below this part of the quota the alarm is taken back.
const ENOUGH: f64 = 0.9;
/// When there is room for this long: whoever works on it by hand then still sees the alarm.
const ROOM_FOR: Duration = Duration::from_secs(5);

pub(crate) async fn run(core: Arc<Core>) {
    let turn = match core.config.retention {
        Retention::Period(period) => (period / 10).clamp(Duration::from_secs(1), Duration::from_secs(300)),
        _ => Duration::from_secs(30),
    };
    // When which revision was the newest.
    let mut seen: VecDeque<(Instant, i64)> = VecDeque::new();
    let mut turned = Instant::now();
    let mut full_at = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        if !core.node.is_leader() {
            seen.clear();
            continue;
        }
        clear_alarm(&core, &mut full_at).await;
        if turned.elapsed() < turn {
            continue;
        }
        turned = Instant::now();
        let view = core.node.view();
        seen.push_back((turned, view.revision()));
        let target = match core.config.retention {
            Retention::All => continue,
            Retention::Revisions(keep) => view.revision() - keep,
            Retention::Period(period) => {
                let mut old = 0;
                while let Some((at, revision)) = seen.front().copied()
                    && at + period <= turned
                {
                    old = revision;
                    seen.pop_front();
                }
                old
            }
        };
        if target > view.compacted() {
            tracing::info!(revision = target, "compacting history");
            let _ =
                core.propose(op::Op::Compact(CompactionRequest { revision: target, physical: false })).await;
        }
    }
}

async fn clear_alarm(core: &Core, full_at: &mut Instant) {
    let view = core.node.view();
    let room = (view.live_bytes() as f64) < core.config.quota_bytes as f64 * ENOUGH;
    let raised =
        view.alarms().is_ok_and(|alarms| alarms.iter().any(|alarm| alarm.alarm() == AlarmType::Nospace));
    if !room || !raised {
        *full_at = Instant::now();
    }
    if full_at.elapsed() >= ROOM_FOR {
        tracing::info!("there is space again, clearing the alarm");
        let alarm = AlarmRequest {
            action: AlarmAction::Deactivate.into(),
            member_id: 0,
            alarm: AlarmType::Nospace.into(),
        };
        let _ = core.propose(op::Op::Alarm(alarm)).await;
    }
}
