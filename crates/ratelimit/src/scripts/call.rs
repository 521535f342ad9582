//! A decision as a call of the cheapest script that can make it.

use std::sync::LazyLock;

use russet_core_conn::{Error, Script, ScriptCall};
use smallvec::SmallVec;

use super::{Mode, Packed, Step, What, name, set};
use crate::rule::{Facts, Rule};

static PEEK: LazyLock<Script> = LazyLock::new(|| {
    const TEXT: &str = concat!(
        "#!lua flags=no-writes\n",
        include_str!("../scripts/look.lua"),
        "return packed()\n"
    );
    Script::new("limit_peek", TEXT)
});
static DECIDE: LazyLock<Script> = LazyLock::new(|| {
    const TEXT: &str =
        concat!(include_str!("../scripts/look.lua"), include_str!("../scripts/take.lua"));
    Script::new("limit_decide", TEXT)
});
static BUCKETS: LazyLock<Script> =
    LazyLock::new(|| Script::new("limit_buckets", include_str!("../scripts/buckets.lua")));
static WINDOW: LazyLock<Script> =
    LazyLock::new(|| Script::new("limit_window", include_str!("../scripts/window.lua")));
static STRICT: LazyLock<Script> =
    LazyLock::new(|| Script::new("limit_strict", include_str!("../scripts/strict.lua")));
static UNITS: LazyLock<Script> =
    LazyLock::new(|| Script::new("limit_units", include_str!("../scripts/units.lua")));

/// Whether there is nothing but buckets, as in most decisions, for which there is a cheaper script.
pub(super) fn is_buckets(mode: Mode, steps: &[&Step], counted: usize) -> bool {
    let bucket = |step: &&Step| {
        matches!(step.what, What::Spend { rule: Rule::Bucket { .. } | Rule::Queue { .. }, .. })
    };
    mode == Mode::All && counted == steps.len() && steps.iter().all(bucket)
}

pub(super) fn buckets(steps: &[&Step], time: Option<u64>) -> ScriptCall<'static> {
    let mut call = steps.iter().fold(BUCKETS.call(), |call, step| call.key(&step.key));
    for step in steps {
        if let What::Spend { rule, cost, left, .. } = &step.what
            && let Rule::Bucket { each, .. } | Rule::Queue { each, .. } = rule
        {
            let (ticks, most) = (cost * each, rule.most(*cost, *left));
            call = call.arg(ticks).arg(most.saturating_sub(ticks)).arg(rule.kept());
        }
    }
    set(call, time, false)
}

/// What that says of each.
pub(super) fn of_buckets(answer: &mut Packed, count: usize) -> Result<SmallVec<[Facts; 4]>, Error> {
    let mut facts = SmallVec::new();
    for _ in 0..count {
        facts.push(Facts([answer.next()?, 0, 0]));
    }
    if !answer.is_over() {
        for Facts([_, refunds, _]) in &mut facts {
            *refunds = answer.next()?;
        }
    }
    Ok(facts)
}

/// One level alone, of a kind for which there is a cheaper script, too.
pub(super) fn alone(
    mode: Mode,
    steps: &[&Step],
    counted: usize,
    time: Option<u64>,
) -> Option<ScriptCall<'static>> {
    let ([step], Mode::All, 1) = (steps, mode, counted) else { return None };
    let What::Spend { rule, cost, left, id } = step.what else { return None };
    let limit = rule.limit() - left.min(rule.limit());
    let of = |script: &'static Script| script.key(&step.key).arg(cost).arg(limit);
    let call = match rule {
        Rule::Window { ticks, refill, aligned, .. } => {
            of(&WINDOW).arg(ticks).arg(refill).arg(u8::from(aligned))
        }
        Rule::Strict { part, parts, .. } => of(&STRICT).arg(part).arg(parts),
        Rule::Log { ticks, .. } | Rule::Permits { ticks, .. } => {
            of(&UNITS).arg(ticks).arg(name(id))
        }
        _ => return None,
    };
    Some(set(call.arg(rule.kept()), time, false))
}

/// Levels of any kind.
pub(super) fn any(
    mode: Mode,
    steps: &[&Step],
    counted: usize,
    time: Option<u64>,
) -> ScriptCall<'static> {
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
