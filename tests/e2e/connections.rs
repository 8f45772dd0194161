//! Connections to a backend that are lost without notice.

use anyhow::Result;
use spandrel_tests::backend::Backend;
use spandrel_tests::client::Client;
use spandrel_tests::collector::{Collector, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::firewall::Firewall;
use spandrel_tests::shop::Shop;

const RETRY: &str =
    "timeout: 3s, retry_on_failure: { initial_interval: 20ms, max_interval: 200ms }";

/// A firewall forgets the connection, three times. The requests on their way are sent again on a
/// new one, and everything arrives.
#[tokio::test]
async fn a_flow_that_is_forgotten_is_left_behind() -> Result<()> {
    let backend = Backend::start().await?;
    let firewall = Firewall::before(&backend.endpoint()).await?;
    let config = Config::new(firewall.endpoint()).exporter(RETRY);
    let collector = Collector::start(&Setup::new(&config.yaml())?).await?;
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    let mut shop = Shop::new(101);
    for forgotten in 0..=3 {
        if forgotten > 0 {
            firewall.forget();
        }
        for _ in 0..10 {
            client.send(shop.request(20)).await?;
        }
        let items = client.delivered.len();
        backend
            .wait("all spans", |taken| taken.spans.len() == items)
            .await?;
        assert_eq!(firewall.connections(), forgotten + 1);
    }
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    let told = "connection was silent while an attempt waited, it is replaced";
    assert_eq!(ended.log.count_of(told), 3);
    ended.ledger("traces")?.check()
}
