//! The journal, in the real program: what was acknowledged arrives, whatever is killed, full or broken.

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
