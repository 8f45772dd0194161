//! Problems with full queues from public reports.

use std::time::Duration;

use anyhow::{Result, ensure};
use spandrel_tests::backend::{Backend, Behaviour};
use spandrel_tests::client::Client;
use spandrel_tests::collector::{Collector, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::shop::Shop;
use spandrel_tests::until::until;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Senders that wait for room and hang up, over and over, while the backend accepts one batch after
/// the other, do not stop the queue: it continues, and accepts later requests.
#[tokio::test]
async fn senders_that_hang_up_do_not_stop_a_queue() -> Result<()> {
    let backend = Backend::start().await?;
    backend.answer(Behaviour::Slow(Duration::from_millis(5)));
    let queue = "sending_queue: { queue_size: 2, num_consumers: 2, block_on_overflow: true }";
    let config = Config::new(backend.endpoint()).exporter(queue);
    let collector = Collector::start(&Setup::new(&config.yaml())?).await?;
    // A connection for each: 600 resets of one are a flood, and it is ended for that.
    let mut clients = Vec::new();
    for _ in 0..60 {
        clients.push(Client::connect(&collector.address("otlp")?).await?);
    }
    let mut shop = Shop::new(1210);
    let mut senders = JoinSet::new();
    for number in 0..600 {
        let slot = number % clients.len();
        let (mut client, request) = (clients[slot].clone(), shop.request(5));
        senders.spawn(async move {
            let patience = Duration::from_millis(number as u64 % 40);
            drop(timeout(patience, client.try_send(request)).await);
        });
        if number % 60 == 59 {
            while senders.join_next().await.is_some() {}
        }
    }
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    for _ in 0..20 {
        client.send(shop.request(5)).await?;
    }
    until("an empty queue", || async {
        let metrics = collector.metrics().await.ok()?;
        (metrics.sum("otelcol_exporter_queue_size", &[]) == 0).then_some(())
    })
    .await?;
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    let ledger = ended.ledger("traces")?;
    ledger.check()?;
    ensure!(
        ledger.exported == ledger.received - ledger.refused,
        "{ledger:?}"
    );
    ensure!(backend.taken().duplicates() == 0);
    Ok(())
}

/// A request that is longer than the whole queue goes through alone, even if senders wait for room.
#[tokio::test]
async fn a_request_longer_than_the_queue_goes_through() -> Result<()> {
    let backend = Backend::start().await?;
    let queue = "sending_queue: { sizer: bytes, queue_size: 65536, block_on_overflow: true }";
    let config = Config::new(backend.endpoint()).exporter(queue);
    let collector = Collector::start(&Setup::new(&config.yaml())?).await?;
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    let mut shop = Shop::new(1211);
    for spans in [1, 400, 1, 800, 1] {
        client.send(shop.request(spans)).await?;
    }
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    ensure!(client.refused == 0);
    ensure!(backend.totals().spans == client.delivered.len() as u64);
    Ok(())
}
