//! The HTTP side door: health for orchestrators, metrics for Prometheus.

mod metrics;
mod process;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use broker::{Shared, View};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What the side door shows.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) shared: Arc<Shared>,
    pub(crate) ready: Arc<AtomicBool>,
    pub(crate) view: Arc<Mutex<Arc<View>>>,
}

impl State {
    fn view(&self) -> Arc<View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
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
            .route("/metrics", get(move || async move { page(state) }));
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

fn page(state: State) -> impl IntoResponse + use<> {
    match metrics::page(state) {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text),
        // Writing into a String fails only when an encoder is wrong.
        Err(error) => {
            let text = format!("the metrics cannot be written: {error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], text)
        }
    }
}
