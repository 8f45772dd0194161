//! Tests of the harness: its counts of sent and accepted data are true.

use std::time::Duration;

use anyhow::Result;
use spandrel_tests::backend::{Backend, Behaviour};
use spandrel_tests::client::{Client, retry_after};
use spandrel_tests::shop::{Minute, Shop, now, span_ids};
use tokio::time::{Instant, timeout};
use tonic::Code;

/// A shop is deterministic. Its traces have 2 to 25 spans, one root, known parents, and no span id
/// twice.
#[test]
fn the_shop_makes_whole_traces() {
    let (mut shop, mut twin) = (Shop::new(7), Shop::new(7));
    let mut seen = std::collections::HashSet::new();
    let mut longest = 0;
    for _ in 0..500 {
        let trace = shop.visit(1_000_000);
        assert_eq!(trace, twin.visit(1_000_000));
        let ids: Vec<&[u8]> = trace.iter().map(|(_, span)| &span.span_id[..]).collect();
        let roots = trace
            .iter()
            .filter(|(_, span)| span.parent_span_id.is_empty());
        assert_eq!(roots.count(), 1);
        for (_, span) in &trace {
            assert!(span.parent_span_id.is_empty() || ids.contains(&&span.parent_span_id[..]));
            assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
            assert!(span.attributes.len() >= 11, "{span:?}");
            assert!(seen.insert(span.span_id.clone()));
        }
        assert!((2..=25).contains(&trace.len()), "{} spans", trace.len());
        longest = longest.max(trace.len());
    }
    assert!(longest > 15, "no order was placed in 500 visits");
}

/// The backend counts what the client believes delivered, and each of its behaviours works as
/// documented.
#[tokio::test]
async fn the_backend_is_as_it_says() -> Result<()> {
    let mut backend = Backend::start().await?;
    let address = backend.endpoint().replace("http://", "");
    let mut client = Client::connect(&address).await?;
    let mut shop = Shop::new(1);

    client.send(shop.request(50)).await?;
    assert_eq!(backend.totals().spans, client.delivered.len() as u64);

    backend.answer(Behaviour::Busy(Duration::from_millis(5)));
    let refused = shop.request(10);
    let items = span_ids(&refused).count() as u64;
    let status = client.try_send(refused).await.unwrap_err();
    assert_eq!(retry_after(&status), Some(Duration::from_millis(5)));
    assert_eq!(client.refused, items);

    backend.answer(Behaviour::Failing {
        code: Code::Unavailable,
        percent: 50,
    });
    let mut failed = 0;
    for _ in 0..4 {
        failed += u32::from(client.try_send(shop.request(10)).await.is_err());
    }
    assert_eq!(failed, 2);
    let delay = Duration::from_millis(50);
    backend.answer(Behaviour::Slow(delay));
    let asked = Instant::now();
    client.send(shop.request(10)).await?;
    assert!(asked.elapsed() >= delay);
    backend.answer(Behaviour::Partial { rejected: 2 });
    let before = backend.totals().spans;
    let request = shop.request(10);
    let items = span_ids(&request).count() as u64;
    client.send(request).await?;
    assert_eq!(backend.totals().spans, before + items - 2);
    backend.answer(Behaviour::Hanging);
    let mut patient = client.clone();
    let waited = timeout(2 * delay, patient.try_send(shop.request(10)));
    assert!(waited.await.is_err(), "it answers");

    backend.go_away().await?;
    assert!(client.try_send(shop.request(1)).await.is_err());
    assert!(client.unanswered > 0);
    backend.answer(Behaviour::Fine);
    backend.come_back()?;
    client.send(shop.request(1)).await?;
    assert_eq!(backend.taken().duplicates(), 0);
    Ok(())
}

/// A minute has visits, health checks of every service, and exports sent twice.
#[test]
fn a_minute_has_everything() {
    let minute = Minute::of(&mut Shop::new(42), now(), 600);
    let spans: u64 = minute.exports.iter().map(|export| export.spans).sum();
    assert!(spans > 4_000, "{spans} spans");
    assert_eq!(minute.probes, 8 * 30);
    assert!(minute.exports.iter().any(|export| export.twice));
}
