//! The HTTP side door: health for orchestrators, metrics for Prometheus.

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use broker::{Shared, View};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use wire::ApiKey;

/// What the side door shows.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) shared: Arc<Shared>,
    pub(crate) ready: Arc<AtomicBool>,
    pub(crate) view: Arc<Mutex<Arc<View>>>,
}

/// Serves until the process ends.
pub(crate) fn run(listener: std::net::TcpListener, state: State) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let ready = state.ready.clone();
        let app = Router::new()
            .route("/health/live", get(|| async { "live\n" }))
            .route("/health/ready", get(move || async move { readiness(&ready) }))
            .route("/metrics", get(move || async move { metrics(&state) }));
        axum::serve(listener, app).await
    })
}

fn readiness(ready: &AtomicBool) -> impl IntoResponse + use<> {
    if ready.load(Ordering::Acquire) {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

fn metrics(state: &State) -> impl IntoResponse + use<> {
    let view = state.view.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut page = Page::default();
    let counters = &state.shared.counters;
    let load = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    page.counter("kafka_server_brokertopicmetrics_bytesin_total", load(&counters.bytes_in));
    page.counter("kafka_server_brokertopicmetrics_bytesout_total", load(&counters.bytes_out));
    page.counter("kafka_server_brokertopicmetrics_messagesin_total", load(&counters.messages_in));
    page.counter(
        "kafka_server_brokertopicmetrics_totalproducerequests_total",
        counters.requests(ApiKey::Produce),
    );
    page.counter(
        "kafka_server_brokertopicmetrics_totalfetchrequests_total",
        counters.requests(ApiKey::Fetch),
    );
    page.counter(
        "kafka_server_brokertopicmetrics_failedproducerequests_total",
        load(&counters.failed_produces),
    );
    page.counter("kafka_server_brokertopicmetrics_failedfetchrequests_total", load(&counters.failed_fetches));
    for row in broker::TABLE {
        let count = counters.requests(row.key);
        page.labelled("kafka_network_requestmetrics_requests_total", "request", row.key.name(), count);
    }
    page.gauge("kafka_server_replicamanager_partitioncount", view.replicas.size() as u64);
    page.gauge("kafka_server_replicamanager_leadercount", view.replicas.size() as u64);
    page.gauge("kafka_server_replicamanager_underreplicatedpartitions", 0);
    page.gauge("kafka_controller_kafkacontroller_activecontrollercount", 1);
    page.gauge("kafka_controller_kafkacontroller_offlinepartitionscount", 0);
    page.gauge("kafka_controller_kafkacontroller_globaltopiccount", view.image.topic_count() as u64);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page.text)
}

/// A page in Prometheus's text format.
#[derive(Default)]
struct Page {
    text: String,
    last: &'static str,
}

impl Page {
    fn head(&mut self, name: &'static str, kind: &str) {
        if self.last != name {
            // Writing to a String cannot fail.
            let _ = writeln!(self.text, "# TYPE {name} {kind}");
            self.last = name;
        }
    }

    fn counter(&mut self, name: &'static str, value: u64) {
        self.head(name, "counter");
        let _ = writeln!(self.text, "{name} {value}");
    }

    fn gauge(&mut self, name: &'static str, value: u64) {
        self.head(name, "gauge");
        let _ = writeln!(self.text, "{name} {value}");
    }

    fn labelled(&mut self, name: &'static str, label: &str, of: &str, value: u64) {
        self.head(name, "counter");
        let _ = writeln!(self.text, "{name}{{{label}=\"{of}\"}} {value}");
    }
}
