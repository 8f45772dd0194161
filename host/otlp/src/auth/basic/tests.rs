use std::time::Duration;

use super::*;

/// Returns a hash as `htpasswd -nbB -C 4 ada "open sesame"` makes it.
fn bcrypt_of(password: &str) -> String {
    bcrypt::hash(password, 4).expect("hashed")
}

fn check(file: Option<&str>, inline: &str) -> Result<PasswordCheck, FileError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("htpasswd");
    if let Some(text) = file {
        std::fs::write(&path, text).expect("written");
    }
    let settings = Htpasswd {
        file: file.map(|_| path),
        inline: Some(inline)
            .filter(|text| !text.is_empty())
            .map(Secret::from),
    };
    PasswordCheck::read(&settings, "test")
}

fn headers(username: &str, password: &str) -> HeaderMap {
    let pair = BASE64_STANDARD.encode(format!("{username}:{password}"));
    let mut headers = HeaderMap::new();
    let value = format!("Basic {pair}").parse().expect("a value");
    headers.insert(header::AUTHORIZATION, value);
    headers
}

async fn admits(check: &PasswordCheck, username: &str, password: &str) -> Result<(), AuthError> {
    check.admit(&headers(username, password)).await
}

/// A user gets in with the full password, whichever way it is kept, and nobody else does. The
/// answer is the same when it is remembered.
#[tokio::test]
async fn users_get_in_with_their_passwords() {
    let file = format!(
        "# users\n\nada:{}\nbob:plain: text \nold:in-file\n",
        bcrypt_of("open sesame")
    );
    let check = check(Some(&file), "old:inline").expect("good");
    for _ in 0..2 {
        for (username, password, good) in [
            ("ada", "open sesame", true),
            ("bob", "plain: text", true),
            ("old", "inline", true),
            ("old", "in-file", false),
            ("ada", "open sesam", false),
            ("ada", "", false),
            ("ada", "plain: text", false),
            ("eve", "open sesame", false),
            ("", "", false),
            ("ada", "open sesame\0", false),
        ] {
            let expected = if good { Ok(()) } else { Err(AuthError::Wrong) };
            let answer = admits(&check, username, password).await;
            assert_eq!(answer, expected, "{username} {password}");
        }
    }
}

/// A check takes as much work for every user, whichever way the password is kept, and for a user
/// who does not exist: the time does not reveal who exists.
#[tokio::test]
async fn the_time_does_not_say_who_exists() {
    let dear = bcrypt::hash("x", 6).expect("hashed");
    let file = format!("cheap:{}\ndear:{dear}\nplain:x\n", bcrypt_of("x"));
    let mixed = check(Some(&file), "").expect("good").users.current();
    for username in ["cheap", "dear", "plain", "nobody"] {
        let done = mixed.passwords.get(username).and_then(Password::cost);
        let work = |cost: u32| 1_u32 << cost;
        let rest: u32 = mixed.rest(done).map(work).sum();
        assert_eq!(done.map_or(0, work) + rest, 64, "{username}");
    }
    let plain = check(None, "a:x\nb:y").expect("good").users.current();
    assert!(plain.rest(None).is_empty());
}

/// A plain-text password as long as a hash is not taken for a hash.
#[tokio::test]
async fn a_password_is_not_taken_for_a_hash() {
    for password in ["open-sesame-1", "correcthorse1", "opensesame123w"] {
        let check = check(None, &format!("ada:{password}")).expect("good");
        assert_eq!(admits(&check, "ada", password).await, Ok(()));
    }
}

/// A header that is not basic authentication counts as missing credentials.
#[tokio::test]
async fn another_scheme_is_not_this_one() {
    let check = check(None, "ada:x").expect("good");
    for sent in ["", "Basic", "Basic !", "Bearer YTp4", "Basic YQ=="] {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, sent.parse().expect("a value"));
        assert_eq!(
            check.admit(&headers).await,
            Err(AuthError::Missing),
            "{sent}"
        );
    }
    assert_eq!(
        check.admit(&HeaderMap::new()).await,
        Err(AuthError::Missing)
    );
}

/// A password that is longer than the part that bcrypt looks at is not taken for that part.
#[tokio::test]
async fn a_long_password_is_no_other() {
    let long = "x".repeat(72);
    let check = check(None, &format!("ada:{}", bcrypt_of(&long))).expect("good");
    assert_eq!(admits(&check, "ada", &long).await, Ok(()));
    let longer = format!("{long}y");
    assert_eq!(admits(&check, "ada", &longer).await, Err(AuthError::Wrong));
}

/// Hashes that are easy to reverse, hashes that take too long, and lines that are no entries are
/// refused. The error names the line and does not show it.
#[tokio::test]
async fn bad_entries_are_refused() {
    let slow = bcrypt_of("x").replace("$04$", "$15$");
    for (text, why) in [
        ("a:{SHA}hunter2", "line 1: only bcrypt"),
        ("\na:$apr1$hunter2$x", "line 2: only bcrypt"),
        ("a:$2y$05$hunter2", "line 1: only bcrypt"),
        ("hunter2", "line 1: this is not user:password"),
        (":hunter2", "line 1: the user or the password is empty"),
        ("hunter2:", "line 1: the user or the password is empty"),
        ("#a:hunter2", "there is nobody in it"),
        (&format!("a:{slow}"), "line 1: a cost above 14"),
        // The crypt(3) of `rasmuslerdorf`, from the manual of PHP.
        ("a:rl.3StKT.4T8M", "line 1: this looks like a hash"),
    ] {
        let error = check(Some(text), "").expect_err("bad");
        let FileError::Unusable { source, .. } = &error else {
            panic!("{error}");
        };
        assert!(source.to_string().starts_with(why), "{source}");
        let printed = format!("{error} {error:?}");
        assert!(!printed.contains("hunter2"), "{printed}");
    }
}

/// A client that tries passwords, however many at once, keeps few processors busy and few checks
/// waiting. Its other attempts are told to come back, and a user who has logged in before is not
/// affected.
#[tokio::test]
async fn trying_passwords_does_not_stop_those_who_know_theirs() {
    let check = check(None, &format!("ada:{}", bcrypt_of("open sesame"))).expect("good");
    assert_eq!(admits(&check, "ada", "open sesame").await, Ok(()));
    // All permits are taken.
    let turns = u32::try_from(check.running.available_permits()).expect("few");
    let taken = check.running.acquire_many(turns).await.expect("open");
    let tries = (0..MAX_WAITING + 10).map(|number| {
        let check = &check;
        async move { admits(check, "ada", &number.to_string()).await }
    });
    let tries = futures_util::future::join_all(tries);
    let meanwhile = async {
        // The tries are polled first, so all of them have arrived.
        for _ in 0..100 {
            assert_eq!(admits(&check, "ada", "open sesame").await, Ok(()));
        }
        drop(taken);
    };
    let (answers, ()) = tokio::join!(tries, meanwhile);
    let count = |wanted| answers.iter().filter(|found| **found == wanted).count();
    assert_eq!(count(Err(AuthError::Wrong)), MAX_WAITING);
    assert_eq!(count(Err(AuthError::Busy)), 10);
}

/// The remembered results are bounded, good ones apart from bad ones, and go with their users.
#[tokio::test]
async fn what_is_remembered_is_bounded() {
    let check = check(None, "ada:x").expect("good");
    assert_eq!(admits(&check, "ada", "x").await, Ok(()));
    for number in 0..MAX_REMEMBERED + 5 {
        let answer = admits(&check, "ada", &format!("{number}")).await;
        assert_eq!(answer, Err(AuthError::Wrong));
    }
    let users = check.users.current();
    let checks = users.checks.lock();
    assert_eq!((checks.good.len(), checks.bad.len()), (1, 5));
    assert!(LOOK_EVERY <= Duration::from_secs(1));
}
