//! OTLP/HTTP into the real program: every item arrives, also across a reload and the end of the
//! process, and clients are told what they did wrong.

pub(crate) mod client;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use spandrel_tests::artifacts::guest;
use spandrel_tests::backend::Backend;
use spandrel_tests::client::Client;
use spandrel_tests::collector::{Collector, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::shop::Shop;
use spandrel_tests::until::until;
use tokio::task::JoinSet;
use tokio::time::sleep;

use client::HttpClient;

fn config(backend: &Backend, keys: &str) -> Result<Config> {
    let config = Config::new(backend.endpoint());
    Ok(config.stage("stage", &guest("unchanged")?, "").http(keys))
}

async fn start(backend: &Backend, keys: &str) -> Result<(Setup, Collector)> {
    let setup = Setup::new(&config(backend, keys)?.yaml())?;
    let collector = Collector::start(&setup).await?;
    Ok((setup, collector))
}

/// Spans that came over HTTP and over gRPC pass the same stage and reach the backend; metrics tell the
/// two transports apart, and count each item once.
#[tokio::test]
async fn both_transports_lead_to_the_backend() -> Result<()> {
    let backend = Backend::start().await?;
    let (_setup, collector) = start(&backend, "").await?;
    let mut http = HttpClient::new(&collector.address("otlp http")?);
    let mut grpc = Client::connect(&collector.address("otlp")?).await?;
    let mut shop = Shop::new(1);
    for _ in 0..20 {
        let answer = http.export(&shop.request(30)).await?;
        ensure!(answer.code == 200 && answer.body.is_empty(), "{answer:?}");
        grpc.send(shop.request(10)).await?;
    }
    ensure!(http.connections == 1, "{} connections", http.connections);
    let [over_http, over_grpc] = [&http.delivered, &grpc.delivered].map(|ids| ids.len() as u64);
    spans_at(&backend, over_http + over_grpc).await?;
    let metrics = collector.metrics().await?;
    for (transport, spans, requests) in [("http", over_http, 20), ("grpc", over_grpc, 20)] {
        let labels = [("receiver", "otlp"), ("transport", transport)];
        let accepted = metrics.sum("otelcol_receiver_accepted_spans", &labels);
        ensure!(
            accepted == spans,
            "{transport}: {accepted} of {spans} spans"
        );
        let answered = [labels[0], labels[1], ("code", "OK")];
        let answered = metrics.sum("spandrel_receiver_requests_total", &answered);
        ensure!(answered == requests, "{transport}: {answered} requests");
    }
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    ended.ledger("traces")?.check()
}

/// Clients that send request after request until they are told to stop.
struct Crowd {
    stopped: Arc<AtomicBool>,
    clients: JoinSet<Result<HttpClient>>,
}

impl Crowd {
    fn start(address: &str) -> Self {
        let stopped = Arc::<AtomicBool>::default();
        let mut clients = JoinSet::new();
        for seed in 0..4 {
            let (mut client, stopped) = (HttpClient::new(address), Arc::clone(&stopped));
            clients.spawn(async move {
                let mut shop = Shop::new(seed);
                while !stopped.load(Ordering::Acquire) {
                    // A client without an answer connects again, or sees that nobody is there.
                    if client.export(&shop.request(5)).await.is_err() {
                        sleep(Duration::from_millis(20)).await;
                    }
                }
                Ok(client)
            });
        }
        Self { stopped, clients }
    }

    /// Stops the clients, and returns the spans that were delivered, refused, and left unanswered.
    async fn stop(mut self) -> Result<[u64; 3]> {
        self.stopped.store(true, Ordering::Release);
        let mut sums = [0; 3];
        while let Some(client) = self.clients.join_next().await {
            let client = client??;
            let delivered = u64::try_from(client.delivered.len())?;
            for (sum, spans) in sums
                .iter_mut()
                .zip([delivered, client.refused, client.unanswered])
            {
                *sum += spans;
            }
        }
        Ok(sums)
    }
}

async fn spans_at(backend: &Backend, spans: u64) -> Result<()> {
    let all = |taken: &spandrel_tests::backend::Taken| taken.totals.spans >= spans;
    backend.wait("spans", all).await?;
    Ok(())
}

/// A reload that changes the port's settings leaves no request without its answer: the new settings
/// take over the socket, and each connection of the old ones ends with an answer that says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_refuses_nobody() -> Result<()> {
    let backend = Backend::start().await?;
    let (setup, collector) = start(&backend, "").await?;
    let address = collector.address("otlp http")?;
    let crowd = Crowd::start(&address);
    for round in 1..=3 {
        spans_at(&backend, backend.totals().spans + 500).await?;
        let config = config(
            &backend,
            &format!("response_headers: {{ x-round: \"{round}\" }}"),
        )?;
        std::fs::write(setup.file("spandrel.yaml.new"), config.yaml())?;
        std::fs::rename(setup.file("spandrel.yaml.new"), setup.file("spandrel.yaml"))?;
        collector.hang_up()?;
        let round = round.to_string();
        until("the new settings", || async {
            let answer = HttpClient::new(&address).post("/nobody", &[], b"").await;
            let header = answer.ok()?.headers.remove("x-round");
            (header == Some(round.clone())).then_some(())
        })
        .await?;
    }
    let [delivered, refused, unanswered] = crowd.stop().await?;
    ensure!(
        (refused, unanswered) == (0, 0),
        "{refused} refused, {unanswered} unanswered"
    );
    spans_at(&backend, delivered).await?;
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    ended.ledger("traces")?.check()
}

/// SIGTERM loses nothing that was answered with 200, and answers what it has admitted: clients that are
/// refused are told when to come again, and connections end with an answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_loses_nothing() -> Result<()> {
    let backend = Backend::start().await?;
    let (_setup, collector) = start(&backend, "").await?;
    let crowd = Crowd::start(&collector.address("otlp http")?);
    spans_at(&backend, 1000).await?;
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    let [delivered, _, _] = crowd.stop().await?;
    let arrived = backend.totals().spans;
    ensure!(
        delivered <= arrived,
        "{delivered} delivered, {arrived} arrived"
    );
    ended.ledger("traces")?.check()
}
