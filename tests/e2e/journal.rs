//! The journal in the real program: acknowledged spans arrive, even if something is killed, full or
//! broken.

mod broken;
mod damage;
mod full;
mod kills;
mod limiter;
mod outage;
mod poison;
mod price;
mod restart;
mod site;
