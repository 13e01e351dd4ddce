//! The HTTP side door: health for orchestrators, metrics for Prometheus.

mod groups;
mod metrics;
mod process;
mod window;

use crate::clock::Clock;
use crate::router::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use broker::{GroupCensus, Mail, Owner, Shared, Teller, View};
use metrics::Look;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use window::Window;

/// The side door: there from the start, and of more use once there is a node to look at.
#[derive(Debug, Default)]
pub(crate) struct Door {
    phase: Mutex<Phase>,
    node: OnceLock<State>,
}

/// How far the process has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Looking at what is on the disk.
    #[default]
    Starting,
    /// Waiting for others to form a cluster, or to be admitted to one.
    Founding,
    /// Serving.
    Ready,
    /// Answering what is under way.
    Draining,
}

impl Door {
    pub(crate) fn enter(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    /// There is a node from now on.
    pub(crate) fn show(&self, node: State) {
        // A process has one node.
        let _second = self.node.set(node);
    }

    fn readiness(&self) -> (StatusCode, &'static str) {
        match *self.phase.lock().unwrap_or_else(PoisonError::into_inner) {
            Phase::Ready => (StatusCode::OK, "ready\n"),
            Phase::Founding => (StatusCode::SERVICE_UNAVAILABLE, "founding\n"),
            Phase::Starting | Phase::Draining => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        }
    }
}

/// What the side door shows of a node.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) shared: Arc<Shared>,
    pub(crate) router: Router,
    pub(crate) view: Arc<Mutex<Arc<View>>>,
    pub(crate) clock: Clock,
    pub(crate) window: Arc<Mutex<Window>>,
}

/// How long the groups' owner may take to say how they are; a scrape without them is better than none.
const PATIENCE: Duration = Duration::from_secs(2);

impl State {
    fn view(&self) -> Arc<View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn groups(&self) -> Option<GroupCensus> {
        let (tell, told) = oneshot::channel();
        // Nobody listens any more only after the patience is over.
        let teller = Teller::new(move |census| drop(tell.send(census)));
        self.router.mail(Owner::Groups, Mail::CountGroups(teller));
        tokio::time::timeout(PATIENCE, told).await.ok()?.ok()
    }
}

/// Serves until the process ends.
pub(crate) fn run(listener: std::net::TcpListener, door: Arc<Door>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let ready = door.clone();
        let app = axum::Router::new()
            .route("/health/live", get(|| async { "live\n" }))
            .route("/health/ready", get(move || async move { ready.readiness() }))
            .route("/metrics", get(move || async move { scrape(&door).await }));
        axum::serve(listener, app).await
    })
}

async fn scrape(door: &Door) -> axum::response::Response {
    match door.node.get() {
        Some(node) => page(node.clone()).await.into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "there is no node yet\n").into_response(),
    }
}

async fn page(state: State) -> impl IntoResponse + use<> {
    let groups = state.groups().await;
    match metrics::page(Look { state, groups }) {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text),
        // Writing into a String fails only when an encoder is wrong.
        Err(error) => {
            let text = format!("the metrics cannot be written: {error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], text)
        }
    }
}
