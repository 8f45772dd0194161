use super::*;

use tokio::task::JoinSet;

const WAIT: Duration = Duration::from_secs(1);

fn shares(total: usize) -> Arc<FairSemaphore> {
    let (reserve, small) = (0, usize::MAX);
    FairSemaphore::new(total, Rule::Share { reserve, small })
}

/// Waiting requests are served in turn by connection: one request beside sixty-four of another
/// connection is the second to be served, not the last.
#[tokio::test(start_paused = true)]
async fn connections_are_served_in_turn() {
    let fair = FairSemaphore::new(1, Rule::Whole);
    let mut first = fair.permit(1);
    first.grow_to(1, WAIT).await.expect("free");
    let mut waiting = JoinSet::new();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut wait = |connection| {
        let (mut permit, order) = (fair.permit(connection), Arc::clone(&order));
        waiting.spawn(async move {
            permit.grow_to(1, WAIT).await.expect("in time");
            order.lock().push(connection);
        });
    };
    for _ in 0..64 {
        wait(1);
    }
    tokio::task::yield_now().await;
    wait(2);
    wait(3);
    tokio::task::yield_now().await;
    drop(first);
    while waiting.join_next().await.is_some() {}
    let order = order.lock();
    assert_eq!(order[..5], [1, 2, 3, 1, 1]);
    assert_eq!(order.len(), 66);
}

/// A connection that comes back to the line a while after it was served has the place that it would
/// have if it had waited. With one request at a time it gets as much as those that always have
/// several in line.
#[tokio::test(start_paused = true)]
async fn who_comes_back_has_kept_its_turn() {
    const HOLD: Duration = Duration::from_millis(10);
    let fair = FairSemaphore::new(1, Rule::Whole);
    let mut senders = JoinSet::new();
    let mut send = |connection, think: Duration| {
        let fair = Arc::clone(&fair);
        senders.spawn(async move {
            let (mut served, begun) = (0, Instant::now());
            while begun.elapsed() < HOLD * 1000 {
                let mut permit = fair.permit(connection);
                permit.grow_to(1, WAIT).await.expect("in time");
                tokio::time::sleep(HOLD).await;
                drop(permit);
                served += 1;
                tokio::time::sleep(think).await;
            }
            (connection, served)
        });
    };
    for connection in 1..9 {
        for _ in 0..4 {
            send(connection, Duration::ZERO);
        }
    }
    send(9, HOLD * 6);
    let polite = senders.join_all().await;
    let served: u32 = polite
        .iter()
        .filter(|(connection, _)| *connection == 9)
        .map(|(_, served)| *served)
        .sum();
    assert!((105..=115).contains(&served), "{served} of 1000");
}

/// One connection never takes all: alone it gets half, and a second one gets a part of the rest.
#[tokio::test(start_paused = true)]
async fn there_is_room_for_one_more() {
    let fair = shares(1000);
    let mut greedy = Vec::new();
    loop {
        let mut permit = fair.permit(1);
        if permit.grow_to(10, WAIT).await.is_err() {
            break;
        }
        greedy.push(permit);
    }
    assert_eq!(greedy.len(), 50);
    let mut polite = fair.permit(2);
    polite.grow_to(400, WAIT).await.expect("room for another");
    drop(greedy);
    polite.grow_to(1000, WAIT).await.expect("all of it");
}

/// One request of a connection is exempt from its share, so that something always gets done.
#[tokio::test(start_paused = true)]
async fn one_request_of_a_connection_gets_on() {
    let fair = shares(1000);
    let mut permits = [fair.permit(1), fair.permit(1), fair.permit(1)];
    for permit in &mut permits {
        permit.grow_to(160, WAIT).await.expect("a small part each");
    }
    let [first, second, _third] = &mut permits;
    assert_eq!(second.grow_to(400, WAIT).await, Err(Full));
    first.grow_to(680, WAIT).await.expect("all that is free");
}

/// A connection that has its part is refused at once while others wait; one that has none waits.
#[tokio::test(start_paused = true)]
async fn who_has_its_part_is_refused_first() {
    let fair = shares(100);
    let mut greedy = [fair.permit(1), fair.permit(1)];
    let [first, second] = &mut greedy;
    first.grow_to(80, WAIT).await.expect("free");
    let (mut polite, begun) = (fair.permit(2), Instant::now());
    let (polite, greedy) = tokio::join!(polite.grow_to(30, WAIT), async {
        tokio::task::yield_now().await;
        let refused = second.grow_to(10, WAIT).await;
        assert_eq!((refused, begun.elapsed()), (Err(Full), Duration::ZERO));
        first.shrink_to(60);
        begun.elapsed()
    });
    assert_eq!((polite, greedy), (Ok(()), Duration::ZERO));
}

/// The reserve for small requests is not given to a large one, and a large request is passed over
/// only for a while.
#[tokio::test(start_paused = true)]
async fn small_requests_have_room_of_their_own() {
    let (reserve, small) = (20, 5);
    let fair = FairSemaphore::new(100, Rule::Share { reserve, small });
    let mut large = [fair.permit(1), fair.permit(2), fair.permit(3)];
    let [first, second, third] = &mut large;
    first.grow_to(50, WAIT).await.expect("free");
    second.grow_to(30, WAIT).await.expect("free");
    assert_eq!(third.grow_to(10, WAIT).await, Err(Full));
    let mut last = fair.permit(4);
    last.grow_to(5, WAIT).await.expect("kept for it");

    let waits = third.grow_to(50, WAIT);
    let (waited, behind) = tokio::join!(waits, async {
        tokio::time::sleep(PATIENCE * 2).await;
        let mut behind = fair.permit(5);
        behind.grow_to(5, WAIT).await.expect("kept for it");
        let mut large = fair.permit(6);
        let passed = large.grow_to(6, PATIENCE).await;
        assert_eq!(passed, Err(Full), "not before the one that waits");
        drop(last);
        second.shrink_to(0);
        behind
    });
    assert_eq!(waited, Err(Full), "45 are free, 15 of them kept");
    drop(behind);
    assert_eq!(fair.lock().kept_taken, 0);
}

/// A request that gives up, or whose time is over, leaves nothing behind and holds nobody up.
#[tokio::test(start_paused = true)]
async fn who_gives_up_is_forgotten() {
    let fair = FairSemaphore::new(10, Rule::Whole);
    let mut first = fair.permit(1);
    first.grow_to(10, WAIT).await.expect("free");
    let mut impatient = fair.permit(2);
    assert_eq!(impatient.grow_to(10, WAIT).await, Err(Full));
    let mut patient = fair.permit(3);
    let (done, ()) = tokio::join!(patient.grow_to(10, WAIT), async {
        // Granted and given up in the same moment.
        let mut gone = fair.permit(4);
        let mut wait = Box::pin(gone.grow_to(5, WAIT));
        assert!(futures_util::poll!(&mut wait).is_pending());
        drop(first);
        drop(wait);
    });
    done.expect("its turn");
    drop((patient, impatient));
    let state = fair.lock();
    assert_eq!((state.taken, state.members.len()), (0, 0));
    assert!(state.line.is_empty());
}

/// Small requests behind a large one that is not passed over any more get the reserve for small
/// requests, and nothing that the large one waits for.
#[tokio::test(start_paused = true)]
async fn a_large_request_gets_on_beside_small_ones() {
    let (reserve, small) = (20, 5);
    let fair = FairSemaphore::new(100, Rule::Share { reserve, small });
    let mut first = fair.permit(1);
    first.grow_to(80, WAIT).await.expect("free");
    let mut large = fair.permit(2);
    let waits = large.grow_to(50, WAIT * 10);
    let (waited, granted) = tokio::join!(waits, async {
        tokio::time::sleep(PATIENCE * 2).await;
        let mut permits: Vec<_> = (3..20).map(|peer| fair.permit(peer)).collect();
        let grown = permits.iter_mut().map(|permit| permit.grow_to(5, WAIT));
        let grown = futures_util::future::join_all(grown).await;
        // 30 more would be enough for the large one alone; it takes 50 for it and the reserve.
        first.shrink_to(30);
        (grown.iter().filter(|grown| grown.is_ok()).count(), permits)
    });
    waited.expect("its turn");
    assert_eq!(granted.0, 4, "20 are kept");
}

/// A request that gave back what it held, all at once or in parts, leaves nothing behind: requests
/// that are gone get no share.
#[tokio::test(start_paused = true)]
async fn who_holds_nothing_is_forgotten() {
    for fair in [shares(1000), FairSemaphore::new(1000, Rule::Whole)] {
        for peer in 0..100 {
            let mut permit = fair.permit(peer);
            permit.grow_to(10, WAIT).await.expect("free");
            permit.shrink_to(4);
            permit.shrink_to(0);
            assert_eq!(fair.lock().members.len(), 0);
            permit.grow_to(3, WAIT).await.expect("free");
        }
        let state = fair.lock();
        assert_eq!((state.taken, state.members.len()), (0, 0));
    }
}
