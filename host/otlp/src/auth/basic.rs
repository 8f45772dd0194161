//! Basic authentication on the server side.
//!
//! One check of a bcrypt password takes a processor tens of milliseconds, by design. So the
//! results, good or bad, are remembered (by a hash with a key that only this process has), few
//! checks run at a time, away from the threads that serve, and few wait. A client that tries
//! passwords can at most keep others from logging in for the first time, not from sending.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;
use std::thread::available_parallelism;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, header};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use super::{AuthError, Htpasswd, LOOK_EVERY};
use crate::file_value::{ContentKind, FileError, FileValue, Files};
use crate::secret::Secret;

/// The number of checks that may wait for others; one more is told to come back. With the usual
/// cost of 10, all of them have had their turn in three seconds.
const MAX_WAITING: usize = 64;
/// The number of results that are remembered, of each kind; 32 bytes each. When there are more, all
/// are forgotten: one check each finds those of the users again.
const MAX_REMEMBERED: usize = 4096;
/// The highest cost that is accepted. The cost doubles with each step, and 14 takes more than a
/// second.
const HIGHEST_COST: u32 = 14;
/// The longest password in bytes: bcrypt ignores the rest.
const MAX_PASSWORD_BYTES: usize = 72;

/// The length of the output of `htpasswd -d`: a salt of two characters and a hash of eleven.
const CRYPT_LEN: usize = 13;

const WHAT: &str = "users and passwords";

/// Lets in requests that carry the password of a user.
#[derive(Debug)]
pub(crate) struct PasswordCheck {
    users: FileValue<Users>,
    /// Permits for checks: half of the processors at most, so that the other half serves.
    running: Arc<Semaphore>,
    waiting: Semaphore,
}

/// The users, with the results of checks so far, which are forgotten together with them.
struct Users {
    key: [u8; 32],
    passwords: HashMap<String, Password>,
    /// The highest cost of all passwords; `None` if there is no bcrypt. A check takes as long as
    /// this cost for every user, so that the time does not reveal which users exist.
    cost: Option<u32>,
    checks: Mutex<PastChecks>,
}

#[derive(Default)]
struct PastChecks {
    good: HashSet<[u8; 32]>,
    bad: HashSet<[u8; 32]>,
}

enum Password {
    Bcrypt {
        hash: Secret,
        cost: u32,
    },
    /// The hash of the password, with the key.
    Plain([u8; 32]),
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Users(..)")
    }
}

impl PasswordCheck {
    pub(super) fn read(settings: &Htpasswd, endpoint: &str) -> Result<Self, FileError> {
        let paths = settings.file.iter().cloned().collect();
        let settings = settings.clone();
        let make = move |files: &Files| Users::read(&settings, files);
        let cores = available_parallelism().map_or(1, NonZeroUsize::get);
        Ok(Self {
            users: FileValue::new(ContentKind::Credentials, endpoint, paths, LOOK_EVERY, make)?,
            running: Arc::new(Semaphore::new((cores / 2).max(1))),
            waiting: Semaphore::new(MAX_WAITING),
        })
    }

    pub(super) async fn admit(&self, headers: &HeaderMap) -> Result<(), AuthError> {
        let sent = headers
            .get(header::AUTHORIZATION)
            .ok_or(AuthError::Missing)?;
        let login = Attempt::parse(sent.as_bytes()).ok_or(AuthError::Missing)?;
        let users = self.users.current();
        let name = users.hash(sent.as_bytes());
        let good = match users.remembered(&name) {
            Some(good) => good,
            None => self.checked(users, login, name).await?,
        };
        if good { Ok(()) } else { Err(AuthError::Wrong) }
    }

    async fn checked(
        &self,
        users: Arc<Users>,
        attempt: Attempt,
        name: [u8; 32],
    ) -> Result<bool, AuthError> {
        let waiting = self.waiting.try_acquire().map_err(|_| AuthError::Busy)?;
        let running = Arc::clone(&self.running).acquire_owned().await;
        drop(waiting);
        // Another request with the same password may have been checked meanwhile.
        if let Some(good) = users.remembered(&name) {
            return Ok(good);
        }
        let check = spawn_blocking(move || {
            // The check runs on if the client does not wait, and holds its permit until it ends.
            let _running = running;
            let good = users.is_good(&attempt);
            users.remember(name, good);
            good
        });
        check.await.map_err(|_| AuthError::Busy)
    }
}

/// A user's name and the password that was sent for it.
struct Attempt {
    username: String,
    password: Zeroizing<String>,
}

impl Attempt {
    fn parse(sent: &[u8]) -> Option<Self> {
        let (scheme, encoded) = sent.split_at_checked(b"Basic ".len())?;
        if !scheme.eq_ignore_ascii_case(b"Basic ") {
            return None;
        }
        let decoded = Zeroizing::new(BASE64_STANDARD.decode(encoded.trim_ascii()).ok()?);
        let text = std::str::from_utf8(&decoded).ok()?;
        let (username, password) = text.split_once(':')?;
        Some(Self {
            username: username.to_owned(),
            password: Zeroizing::new(password.to_owned()),
        })
    }
}

/// Checks that the users in this text can be used.
pub(super) fn check(text: &str) -> Result<(), String> {
    Users::nobody().add(text)
}

impl Users {
    fn nobody() -> Self {
        Self {
            key: rand::random(),
            passwords: HashMap::new(),
            cost: None,
            checks: Mutex::default(),
        }
    }

    fn read(settings: &Htpasswd, files: &Files) -> Result<Self, FileError> {
        let mut users = Self::nobody();
        if let Some(file) = &settings.file {
            let added = users.add(files.text(file, WHAT)?);
            added.map_err(|why| FileError::unusable(WHAT, file, why))?;
        }
        // After the file, so that users in the config take precedence.
        if let Some(inline) = &settings.inline {
            let added = users.add(inline.reveal());
            added.map_err(|why| FileError::unusable(WHAT, "htpasswd::inline".as_ref(), why))?;
        }
        if users.passwords.is_empty() {
            let path = settings.file.clone().unwrap_or_default();
            return Err(FileError::unusable(WHAT, &path, "there is nobody in it"));
        }
        users.cost = users.passwords.values().filter_map(Password::cost).max();
        Ok(users)
    }

    /// Adds the users in this text. An error names the line and never shows its content.
    fn add(&mut self, text: &str) -> Result<(), String> {
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |what: &str| Err(format!("line {number}: {what}"));
            let Some((name, password)) = line.split_once(':') else {
                return wrong("this is not user:password");
            };
            if name.is_empty() || password.is_empty() {
                return wrong("the user or the password is empty");
            }
            let password = if let Ok(parts) = password.parse::<bcrypt::HashParts>() {
                if parts.get_cost() > HIGHEST_COST {
                    return wrong("a cost above 14 takes longer than clients wait");
                }
                let cost = parts.get_cost();
                let hash = password.into();
                Password::Bcrypt { hash, cost }
            } else if password.starts_with(['$', '{']) {
                return wrong("only bcrypt (htpasswd -B) and plain text are offered");
            } else if is_crypt(password) {
                return wrong(
                    "this looks like a hash of `htpasswd -d`; write one of `htpasswd -B`",
                );
            } else {
                Password::Plain(self.hash(password.as_bytes()))
            };
            self.passwords.insert(name.to_owned(), password);
        }
        Ok(())
    }

    fn hash(&self, text: &[u8]) -> [u8; 32] {
        let hash = Sha256::new().chain_update(self.key).chain_update(text);
        hash.finalize().into()
    }

    fn is_good(&self, attempt: &Attempt) -> bool {
        let user = self.passwords.get(&attempt.username);
        let sent = attempt.password.as_bytes();
        let good = match user {
            Some(Password::Plain(hash)) => hash.ct_eq(&self.hash(sent)).into(),
            Some(Password::Bcrypt { hash, .. }) => {
                // bcrypt would only look at the beginning of a longer one, and at nothing after a
                // 0.
                let fits = sent.len() <= MAX_PASSWORD_BYTES && !sent.contains(&0);
                let good = bcrypt::verify(sent, hash.reveal()).unwrap_or(false);
                fits && good
            }
            None => false,
        };
        for cost in self.rest(user.and_then(Password::cost)) {
            // This is done only for the time that it takes.
            drop(bcrypt::hash_with_salt(sent, cost, [0; 16]));
        }
        good
    }

    /// Returns the costs of the work that remains after a check of cost `done`, so that every check
    /// takes as long as the most expensive one. With each step the cost doubles, so checks of each
    /// step from `done` on, added to the first check, take as long as one of the highest cost.
    fn rest(&self, done: Option<u32>) -> Range<u32> {
        match (self.cost, done) {
            (Some(highest), Some(done)) => done..highest,
            (Some(highest), None) => highest..highest + 1,
            (None, _) => 0..0,
        }
    }

    fn remembered(&self, name: &[u8; 32]) -> Option<bool> {
        let checks = self.checks.lock();
        match (checks.good.contains(name), checks.bad.contains(name)) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        }
    }

    fn remember(&self, name: [u8; 32], good: bool) {
        let mut checks = self.checks.lock();
        let of = if good {
            &mut checks.good
        } else {
            &mut checks.bad
        };
        if of.len() >= MAX_REMEMBERED {
            of.clear();
        }
        of.insert(name);
    }
}

impl Password {
    fn cost(&self) -> Option<u32> {
        match self {
            Self::Bcrypt { cost, .. } => Some(*cost),
            Self::Plain(_) => None,
        }
    }
}

/// Returns true if this is a hash of the old crypt(3). Taken as plain text, the hash itself could
/// be sent as the password. Its last character has only four bits, so few passwords of this length
/// look like one.
fn is_crypt(password: &str) -> bool {
    let is_one = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/');
    password.len() == CRYPT_LEN
        && password.bytes().all(is_one)
        && password.ends_with(|last| ".26AEIMQUYcgkosw".contains(last))
}

#[cfg(test)]
mod tests;
