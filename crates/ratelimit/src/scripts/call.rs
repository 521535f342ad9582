//! A decision as a call of the cheapest script that can make it.

use std::sync::LazyLock;

use russet_core_conn::{Script, ScriptCall};

use super::{Mode, Step, What, name, set};
use crate::rule::Rule;

static PEEK: LazyLock<Script> = LazyLock::new(|| {
    const TEXT: &str =
        concat!("#!lua flags=no-writes\n", include_str!("../scripts/look.lua"), "return reply\n");
    Script::new("limit_peek", TEXT)
});
static DECIDE: LazyLock<Script> = LazyLock::new(|| {
    const TEXT: &str =
        concat!(include_str!("../scripts/look.lua"), include_str!("../scripts/take.lua"));
    Script::new("limit_decide", TEXT)
});
static BUCKETS: LazyLock<Script> =
    LazyLock::new(|| Script::new("limit_buckets", include_str!("../scripts/buckets.lua")));

/// All of these, which share a slot; those from `counted` on stop nobody.
pub(super) fn decision(
    mode: Mode,
    steps: &[&Step],
    counted: usize,
    time: Option<u64>,
) -> ScriptCall<'static> {
    match mode {
        Mode::All if counted == steps.len() && steps.iter().all(is_bucket) => buckets(steps, time),
        _ => any(mode, steps, counted, time),
    }
}

fn is_bucket(step: &&Step) -> bool {
    matches!(step.what, What::Spend { rule: Rule::Bucket { .. } | Rule::Queue { .. }, .. })
}

/// Nothing but buckets, as most decisions are, at less cost.
fn buckets(steps: &[&Step], time: Option<u64>) -> ScriptCall<'static> {
    let mut call = steps.iter().fold(BUCKETS.call(), |call, step| call.key(&step.key));
    for step in steps {
        if let What::Spend { rule, cost, left, .. } = &step.what
            && let Rule::Bucket { each, .. } | Rule::Queue { each, .. } = rule
        {
            call = call.arg(cost * each).arg(rule.most(*cost, *left)).arg(rule.kept());
        }
    }
    set(call, time, false)
}

/// Levels of any kind.
fn any(mode: Mode, steps: &[&Step], counted: usize, time: Option<u64>) -> ScriptCall<'static> {
    let script = if mode == Mode::Peek { &PEEK } else { &DECIDE };
    let mode = match mode {
        Mode::All => "all",
        Mode::Most => "most",
        Mode::Force => "force",
        Mode::Peek => "peek",
    };
    let call = steps.iter().fold(script.call(), |call, step| call.key(&step.key));
    let call = set(call, time, true).arg(mode).arg(counted);
    steps.iter().fold(call, |call, step| describe(call, &step.what, mode == "force"))
}

fn describe<'a>(call: ScriptCall<'a>, what: &What, forced: bool) -> ScriptCall<'a> {
    let What::Spend { rule, cost, left, id } = what else {
        return match what {
            What::Watch { ticks, above, limit } => {
                call.arg("h").arg(*ticks).arg(*above).arg(*limit)
            }
            _ => call.arg("b"),
        };
    };
    let (rule, cost, kept) = (*rule, *cost, rule.kept());
    let limit = rule.limit() - (*left).min(rule.limit());
    match rule {
        Rule::Bucket { each, .. } | Rule::Queue { each, .. } => {
            let most = if forced { rule.period() } else { rule.most(cost, *left) };
            call.arg("g").arg(cost).arg(most).arg(each).arg(kept)
        }
        Rule::Window { ticks, refill, aligned, .. } => {
            let call = call.arg("w").arg(cost).arg(limit).arg(ticks).arg(refill);
            call.arg(u8::from(aligned)).arg(kept)
        }
        Rule::Counter { ticks, .. } => call.arg("c").arg(cost).arg(limit).arg(ticks).arg(kept),
        Rule::Strict { part, parts, .. } => {
            call.arg("s").arg(cost).arg(limit).arg(part).arg(parts).arg(kept)
        }
        Rule::Log { ticks, .. } | Rule::Permits { ticks, .. } => {
            call.arg("z").arg(cost).arg(limit).arg(ticks).arg(name(*id)).arg(kept)
        }
    }
}
