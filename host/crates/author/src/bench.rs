//! What an event costs: time, fuel and memory of a plugin, beside what passing the same events on costs the host.

use std::sync::Arc;
use std::time::Instant;

use deltaforge_model::json::{EventWriter, RowEncoders};
use deltaforge_model::{Batch, Overlay, View};
use deltaforge_sdk::testing::Golden;
use deltaforge_wasm::{PluginKind, Runtime, Trial, TrialError, TrialSpec};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

/// Events of one call: the most that a host shows a plugin at once.
pub const EVENTS: usize = 500;
/// How long one round takes, about, in nanoseconds of the thread's time.
const ROUND: u64 = 20_000_000;

/// What is measured with.
#[derive(Debug)]
pub struct Load {
    /// The events.
    batch: Arc<Batch>,
    /// The plugin's configuration.
    pub config: Value,
}

impl Load {
    /// Events of a golden input, again and again until there are [`EVENTS`].
    ///
    /// # Errors
    ///
    /// What does not fit.
    pub fn of_golden(text: &str) -> Result<Self, String> {
        let golden = Golden::parse(text)?;
        if golden.batch.events() == 0 {
            return Err("it has no events".to_owned());
        }
        let batch = golden.batch.repeated(EVENTS).try_build()?;
        Ok(Self { batch: Arc::new(batch), config: golden.config })
    }

    /// Orders of a shop: 12 columns (3 integers, 5 texts, a decimal, a boolean, 2 timestamps), 60 % created, 30 %
    /// changed, 10 % deleted.
    pub fn orders() -> Self {
        let row = |id: usize, version: usize| {
            json!({
                "id": id, "customer_id": id * 7, "quantity": id % 5 + version,
                "status": if version == 1 { "new" } else { "shipped" },
                "email": format!("customer.{id:06}@example.com"), "name": format!("Customer Number {id:06}"),
                "address": format!("{id:06} Long Street, 12345 Some Town"),
                "note": if id.is_multiple_of(4) { Value::Null } else { json!("please leave the parcel with the neighbour") },
                "price": "1234.50", "paid": id.is_multiple_of(3),
                "created_at": "2024-01-15T10:30:00.123456Z", "updated_at": "2024-01-15T10:31:00Z",
            })
        };
        let events = (0..EVENTS).map(|id| match id % 10 {
            0..6 => json!({ "table": "shop.orders", "op": "c", "after": row(id, 1) }),
            6..9 => json!({ "table": "shop.orders", "op": "u", "before": row(id, 1), "after": row(id, 2) }),
            _ => json!({ "table": "shop.orders", "op": "d", "before": row(id, 2) }),
        });
        let columns = [
            ("id", "int"),
            ("customer_id", "int"),
            ("quantity", "int"),
            ("status", "text"),
            ("email", "text"),
            ("name", "text"),
            ("address", "text"),
            ("note", "text"),
            ("price", "decimal"),
            ("paid", "bool"),
            ("created_at", "timestamp"),
            ("updated_at", "timestamp"),
        ];
        let document = json!({
            "tables": [{ "name": "shop.orders", "columns": columns, "key": ["id"] }],
            "events": events.collect::<Value>(),
        });
        Self::of_golden(&document.to_string()).expect("these are events")
    }

    /// How long an event is as JSON in the native form, bytes.
    pub fn event_bytes(&self) -> usize {
        let mut encoders = RowEncoders::default();
        let mut writer = EventWriter::new(&self.batch, &mut encoders);
        let mut out = Vec::new();
        self.batch.events().for_each(|event| writer.write_event(&event, false, &mut out));
        out.len() / EVENTS
    }
}

/// Nanoseconds an event, over all rounds.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Spread {
    /// The fastest round.
    pub best: f64,
    /// The middle one.
    pub median: f64,
    /// The one that nine of ten are faster than.
    pub p90: f64,
}

impl Spread {
    fn of(mut rounds: Vec<f64>) -> Self {
        rounds.sort_by(f64::total_cmp);
        let at = |share: f64| rounds[((rounds.len() - 1) as f64 * share).round() as usize];
        Self { best: at(0.0), median: at(0.5), p90: at(0.9) }
    }
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Measured {
    /// The plugin, `name@1.2.3`.
    pub plugin: String,
    /// `processor` or `formatter`.
    pub kind: PluginKind,
    /// Events a call.
    pub events: usize,
    /// Calls a round.
    pub calls: usize,
    /// Rounds.
    pub rounds: usize,
    /// The thread's time in the plugin, what crosses into it included, nanoseconds an event.
    pub ns: Spread,
    /// The same with what the host does about the answer: processors only.
    pub applied_ns: Option<Spread>,
    /// What the host does natively with the same events: a processor that looks at nothing, a formatter that writes the
    /// native envelope.
    pub native_ns: Spread,
    /// Fuel an event: instructions, about, the same on every machine.
    pub fuel: u64,
    /// The most memory that the instance held, bytes.
    pub memory_bytes: usize,
    /// From bytes to the first call, compiled anew, milliseconds.
    pub start_ms: f64,
}

/// Measures a component.
///
/// # Errors
///
/// What keeps it from its work.
///
/// # Panics
///
/// If `rounds` is 0.
pub async fn measure(
    component: &[u8],
    load: &Load,
    spec: &TrialSpec,
    rounds: usize,
) -> Result<Measured, TrialError> {
    let engine = |error: std::io::Error| deltaforge_wasm::LoadError::NotAPlugin(error.to_string());
    let spec = TrialSpec { config: load.config.clone(), ..spec.clone() };
    let started = Instant::now();
    let mut trial = Runtime::new(None).map_err(engine)?.trial(component, spec.clone()).await?;
    let start_ms = started.elapsed().as_secs_f64() * 1e3;

    let warm = call(&mut trial, &load.batch).await?;
    let calls = (ROUND / warm.0.max(1)).clamp(1, 200) as usize;
    let (mut own, mut applied) = (Vec::new(), Vec::new());
    let each = |nanos: u64| nanos as f64 / (calls * EVENTS) as f64;
    for _ in 0..rounds {
        let (mut of_own, mut of_all) = (0, 0);
        for _ in 0..calls {
            let (in_plugin, in_host) = call(&mut trial, &load.batch).await?;
            of_own += in_plugin;
            of_all += in_plugin + in_host;
        }
        own.push(each(of_own));
        applied.push(each(of_all));
    }
    let memory_bytes = trial.memory_bytes();
    let kind = trial.kind();
    let native = (0..rounds).map(|_| each((0..calls).map(|_| native(kind, &load.batch)).sum()));

    let mut metered = Runtime::metered().map_err(engine)?.trial(component, spec).await?;
    // The first call makes what later ones find.
    call(&mut metered, &load.batch).await?;
    let before = metered.burnt().unwrap_or_default();
    call(&mut metered, &load.batch).await?;
    let fuel = (metered.burnt().unwrap_or_default() - before) / EVENTS as u64;

    let says = trial.description();
    Ok(Measured {
        plugin: format!("{}@{}", says.name, says.version),
        kind,
        events: EVENTS,
        calls,
        rounds,
        ns: Spread::of(own),
        applied_ns: (kind == PluginKind::Processor).then(|| Spread::of(applied)),
        native_ns: Spread::of(native.collect()),
        fuel,
        memory_bytes,
        start_ms,
    })
}

/// One call: the thread's nanoseconds in the plugin, and in the host afterwards.
async fn call(trial: &mut Trial, batch: &Arc<Batch>) -> Result<(u64, u64), TrialError> {
    let view = View::all(batch.clone());
    match trial.kind() {
        PluginKind::Processor => {
            let mut copy = (**batch).clone();
            let start = thread_nanos();
            let edits = trial.process(&view).await?;
            let answered = thread_nanos();
            edits.apply(&mut copy, "bench");
            Ok((answered - start, thread_nanos() - answered))
        }
        PluginKind::Formatter => {
            let start = thread_nanos();
            trial.format(&view, &[false; EVENTS]).await?;
            Ok((thread_nanos() - start, 0))
        }
    }
}

/// What the host does with the same events when there is no plugin: the thread's nanoseconds.
fn native(kind: PluginKind, batch: &Arc<Batch>) -> u64 {
    let mut copy = (**batch).clone();
    let start = thread_nanos();
    match kind {
        PluginKind::Processor => {
            let view = View::all(batch.clone());
            std::hint::black_box(&view);
            Overlay::new().apply(&mut copy, "bench");
        }
        PluginKind::Formatter => {
            let mut encoders = RowEncoders::default();
            let mut writer = EventWriter::new(batch, &mut encoders);
            let mut out = Vec::new();
            batch.events().for_each(|event| writer.write_event(&event, false, &mut out));
            std::hint::black_box(&out);
        }
    }
    thread_nanos() - start
}

fn thread_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_of_all_rounds() {
        let spread = Spread::of((1..=11).rev().map(f64::from).collect());
        assert_eq!(spread, Spread { best: 1.0, median: 6.0, p90: 10.0 });
        assert_eq!(Spread::of(vec![2.0]), Spread { best: 2.0, median: 2.0, p90: 2.0 });
    }

    #[test]
    fn a_few_events_become_a_full_call() {
        let text = r#"{"config": {"a": 1}, "events": [
            {"table": "t", "op": "c", "after": {"id": 1}}, {"table": "u", "op": "d", "before": {"id": 2}}]}"#;
        let load = Load::of_golden(text).expect("it fits");
        assert_eq!((load.batch.events().count(), &load.config), (EVENTS, &json!({"a": 1})));
        assert!(Load::of_golden(r#"{"events": []}"#).expect_err("nothing").contains("no events"));
        assert!(Load::orders().event_bytes() > 300);
    }
}
