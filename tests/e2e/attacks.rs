//! Attacks on the receiver: the real program, handwritten HTTP/2 frames and HTTP/1.1, and a good client
//! on each port beside the attackers that must not notice them.
//!
//! `SPANDREL_ATTACK_SECONDS=60` makes each attack last a minute instead of two seconds.

mod good;
mod http1;
mod set;
mod wire;

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::{join_all, try_join_all};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use spandrel_tests::artifacts::guest;
use spandrel_tests::authority::Authority;
use spandrel_tests::backend::Backend;
use spandrel_tests::client::Client;
use spandrel_tests::collector::{Collector, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::shop::Shop;
use spandrel_tests::until::{PATIENCE, say, until};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};

use crate::http::client::HttpClient;
use good::{Good, GoodClient, Served};
use set::{Attack, Bombs, Target};
use wire::{CALM, DATA, END_HEADERS, END_STREAM, HEADERS, PING, Raw, export, frame, message};

/// The memory that an attack may add to a working collector.
const GROWTH_KIB: u64 = 128 << 10;

/// The connections that one peer may have: a quarter of the 4096 places is kept free for others.
const PLACES: usize = 3072;

/// The memory that a thousand concurrent requests of empty spans may add.
const GROWTH_OF_EMPTY_SPANS_KIB: u64 = 256 << 10;

/// The least number of times that a good client must be served beside an attack. On an idle machine
/// it sends 400 requests.
const SERVED: usize = 10;

/// Returns the duration of one attack.
fn duration() -> Result<Duration> {
    let seconds = match std::env::var("SPANDREL_ATTACK_SECONDS") {
        Ok(seconds) => seconds.parse().context("SPANDREL_ATTACK_SECONDS")?,
        Err(_) => 2,
    };
    Ok(Duration::from_secs(seconds))
}

/// A collector with a stage. A good client has already been served for a while.
struct Site {
    backend: Backend,
    collector: Collector,
    address: String,
    /// The authority that signed the collector's certificate, if its receiver requires TLS.
    authority: Option<Authority>,
    /// The resident memory after the good client's first second.
    base: u64,
}

impl Site {
    async fn open() -> Result<Self> {
        Self::of(None).await
    }

    /// Opens a site. With an authority, its receiver requires TLS and has a certificate of it.
    async fn of(authority: Option<Authority>) -> Result<Self> {
        let backend = Backend::start().await?;
        let config = Config::new(backend.endpoint()).stage("stage", &guest("unchanged")?, "");
        let config = match authority {
            None => config,
            Some(_) => config.grpc("tls: { cert_file: cert.pem, key_file: key.pem }"),
        };
        let setup = Setup::new(&config.http("").yaml())?;
        if let Some(authority) = &authority {
            authority.sign_into(setup.folder())?;
        }
        let collector = Collector::start(&setup).await?;
        let address = collector.address("otlp")?;
        let mut site = Self {
            backend,
            collector,
            address,
            authority,
            base: 0,
        };
        let client = site.good().await?;
        site.watch(Duration::from_secs(1)).await?;
        site.base = site.collector.memory_kib()?;
        client.stop().await?;
        Ok(site)
    }

    /// Starts a good client.
    async fn good(&self) -> Result<Good> {
        let client = match &self.authority {
            None => Client::connect(&self.address).await?,
            Some(authority) => Client::connect_trusting(authority, &self.address).await?,
        };
        Ok(Good::start(GoodClient::Grpc(Box::new(client))))
    }

    /// Starts a good client of the port of HTTP.
    fn good_over_http(&self) -> Result<Good> {
        let client = HttpClient::new(&self.collector.address("otlp http")?);
        Ok(Good::start(GoodClient::Http(client)))
    }

    /// Returns the most memory that was seen in this time.
    async fn watch(&self, time: Duration) -> Result<u64> {
        let mut looks = interval(Duration::from_millis(20));
        let (begun, mut most) = (Instant::now(), 0);
        while begun.elapsed() < time {
            looks.tick().await;
            most = most.max(
                self.collector
                    .memory_kib()
                    .context("the collector is gone")?,
            );
        }
        Ok(most)
    }

    /// Checks that all spans that the good clients were told are accepted have arrived, and that
    /// the collector ends well.
    async fn close(self, delivered: u64) -> Result<()> {
        let all = |taken: &spandrel_tests::backend::Taken| taken.totals.spans >= delivered;
        self.backend.wait("all spans", all).await?;
        let ended = self.collector.stop().await?;
        ended.expect_code(0)?;
        ended.ledger("traces")?.check()
    }
}

fn gzip(bytes: &[u8]) -> Result<Arc<[u8]>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?.into())
}

/// Each attack of the set runs with many attackers at once. The collector stays within its memory,
/// and each request of the client beside them is served at its first attempt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_client_does_not_notice() -> Result<()> {
    let attacks = set::all().into_iter().chain(set::on_http());
    under_attacks(attacks.chain(http1::all())).await
}

/// The same holds for whole bodies over HTTP/1.1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "bodies that do not say their length take 70 MiB for 20 MiB"]
async fn bodies_over_http_are_not_noticed() -> Result<()> {
    under_attacks(http1::bodies().into_iter()).await
}

/// Runs one attack after the other.
async fn under_attacks(attacks: impl Iterator<Item = Attack>) -> Result<()> {
    let (large, fitting) = (vec![0; 60 << 20], vec![0; 16 << 20]);
    let zstd = |zeros: &[u8]| anyhow::Ok(zstd::encode_all(zeros, 19)?.into());
    let target = Target {
        address: String::new(),
        until: Instant::now(),
        reached: Arc::default(),
        bombs: Bombs {
            gzip: gzip(&large)?,
            zstd: zstd(&large)?,
            gzip_that_fits: gzip(&fitting)?,
            zstd_that_fits: zstd(&fitting)?,
        },
    };
    let mut table = format!(
        "\n{:<28} {:>10} {:>10} {:>8} {:>10} {:>8} {:>9}\n",
        "attack", "MiB more", "gRPC", "p99 ms", "HTTP", "p99 ms", "reached"
    );
    for attack in attacks {
        let told = under_attack(&attack, target.clone(), &mut table).await;
        told.with_context(|| format!("{} on {}{table}", attack.name, attack.port))?;
    }
    say(&table);
    Ok(())
}

/// Runs one attack. Each has a collector of its own, so that it is not affected by an earlier one.
async fn under_attack(attack: &Attack, mut target: Target, table: &mut String) -> Result<()> {
    let authority = attack.over_tls.then(Authority::new).transpose()?;
    let site = Site::of(authority).await?;
    target.address = site.collector.address(attack.port)?;
    target.until = Instant::now() + duration()?;
    target.reached = Arc::default();
    let (grpc, http) = (site.good().await?, site.good_over_http()?);
    let (most, ()) = tokio::join!(site.watch(duration()?), assail(attack, &target));
    let reached = target.reached.load(Ordering::Relaxed);
    let served = [grpc.stop().await?, http.stop().await?];
    let more = most?.saturating_sub(site.base);
    table.push_str(&line(attack, more, &served, reached));
    let attackers = attack.attackers;
    ensure!(
        reached >= attackers / 2,
        "{attackers} attackers had {reached} connections"
    );
    for served in &served {
        let answered = served.latencies.len();
        ensure!(
            answered >= SERVED,
            "a good client was served {answered} times"
        );
        ensure!(served.refused == 0, "{} spans refused", served.refused);
    }
    ensure!(more < GROWTH_KIB, "{more} KiB more");
    site.close(served.iter().map(|served| served.spans).sum())
        .await
}

fn line(attack: &Attack, more: u64, served: &[Served; 2], reached: usize) -> String {
    let name = match attack.port {
        "otlp" => attack.name.to_owned(),
        _ => format!("{} (HTTP)", attack.name),
    };
    let [grpc, http] = served.each_ref().map(|served| {
        let p99 = served.p99().as_secs_f64() * 1e3;
        format!("{:>10} {p99:>8.1}", served.latencies.len())
    });
    format!("{name:<28} {:>10} {grpc} {http} {reached:>9}\n", more >> 10)
}

/// Runs all attackers. Each starts a new round when one is over.
async fn assail(attack: &Attack, target: &Target) {
    let mut attackers = JoinSet::new();
    for _ in 0..attack.attackers {
        let (target, round) = (target.clone(), attack.round);
        attackers.spawn(async move {
            while Instant::now() < target.until {
                let left = target.until - Instant::now();
                // An error is expected: the attacker should be disconnected. The pause makes it do
                // more than connect.
                drop(tokio::time::timeout(left, round(target.clone())).await);
                sleep(Duration::from_millis(5)).await;
            }
        });
    }
    attackers.join_all().await;
}

/// A client that floods its connection gets `ENHANCE_YOUR_CALM`, and the connection ends, every
/// time.
#[tokio::test]
async fn who_floods_is_told_so() -> Result<()> {
    let site = Site::open().await?;
    for _ in 0..20 {
        let mut raw = Raw::connect(&site.address).await?;
        raw.send(&frame(PING, 0, 0, &[0; 8]).repeat(2000)).await?;
        let told = raw.told(PATIENCE).await?;
        ensure!(told == Some(CALM), "{told:?}");
    }
    site.close(0).await
}

/// Raises this process's limit of open files to the maximum: a shell's limit is often 1024.
fn open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    // If that is not allowed, the number of connections shows it.
    setrlimit(Resource::Nofile, raised).ok();
}

/// A new client still gets in after a crowd of idle connections has taken every place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_makes_room() -> Result<()> {
    open_files();
    let site = Site::open().await?;
    let mut crowd = Vec::new();
    for _ in 0..5000 {
        crowd.extend(Raw::connect(&site.address).await);
    }
    ensure!(crowd.len() > PLACES, "{} connections", crowd.len());
    let newcomer = until("a place", || async {
        let mut client = Client::connect(&site.address).await.ok()?;
        let sent = client.try_send(Shop::new(1).request(10)).await;
        sent.is_ok().then_some(client)
    });
    let spans = u64::try_from(newcomer.await?.delivered.len())?;
    let more = site.collector.memory_kib()?.saturating_sub(site.base);
    say(&format!(
        "\n{} connections: {} MiB more\n",
        crowd.len(),
        more >> 10
    ));
    ensure!(more < GROWTH_KIB, "{more} KiB more");
    site.close(spans).await
}

/// A thousand concurrent requests of 4 KiB each that inflate to two million empty spans use no more
/// than the memory for requests, all together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_spans_are_no_bomb() -> Result<()> {
    let site = Site::open().await?;
    // The message has resource spans, in them scope spans, and in these spans without a field.
    let spans = [0x12, 0].repeat(2 << 20);
    let request = nested(0x0a, &nested(0x12, &spans));
    let body = message(true, &gzip(&request)?);
    ensure!(body.len() < 8 << 10, "{} bytes", body.len());
    let good = site.good().await?;
    let raws = (0..10).map(|_| Raw::ready(&site.address));
    let raws = try_join_all(raws).await?;
    let sent = AtomicUsize::new(0);
    let attackers = raws.into_iter().map(|mut raw| async {
        for _ in 0..100 {
            let stream = raw.stream();
            let mut wire = frame(HEADERS, END_HEADERS, stream, &export(Some("gzip")));
            wire.extend(frame(DATA, END_STREAM, stream, &body));
            if raw.send(&wire).await.is_err() {
                // The attacker may be disconnected.
                break;
            }
            sent.fetch_add(1, Ordering::Relaxed);
            raw.skim();
        }
        raw
    });
    let attacked = join_all(attackers);
    let (most, _raws) = tokio::join!(site.watch(Duration::from_secs(4)), attacked);
    let served = good.stop().await?;
    let sent = sent.into_inner();
    let more = most?.saturating_sub(site.base);
    let metrics = site.collector.metrics().await?;
    let counted = metrics.sum(
        "spandrel_ledger_invalid_requests",
        &[("pipeline", "traces")],
    );
    say(&format!(
        "\n{} requests of {} bytes each: {} MiB more, {counted} inflated and refused by count, good client served {} times, p99 {:?}\n",
        sent,
        body.len(),
        more >> 10,
        served.latencies.len(),
        served.p99(),
    ));
    ensure!(sent >= 500, "only {sent} were sent");
    ensure!(counted > 0, "none was looked at");
    ensure!(more < GROWTH_OF_EMPTY_SPANS_KIB, "{more} KiB more");
    ensure!(served.refused == 0, "{} spans refused", served.refused);
    site.close(served.spans).await
}

/// Encodes a message inside a message.
fn nested(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut all = vec![tag];
    let mut len = body.len();
    while len >= 0x80 {
        all.push(u8::try_from(len & 0x7f).unwrap_or_default() | 0x80);
        len >>= 7;
    }
    all.push(u8::try_from(len).unwrap_or_default());
    all.extend_from_slice(body);
    all
}
