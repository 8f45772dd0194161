//! Sets gauges that are not numbers, overflows counters, and makes spans that end before they
//! begin.

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn process(_: u64, _: Vec<u8>) -> Reply {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, f64::MIN] {
            host::gauge("odd", value);
        }
        host::count("odd_total", u64::MAX);
        host::count("odd_total", u64::MAX);
        let times = [&[0x39][..], &[0xff; 8], &[0x41], &[0; 8], &[0x30, 0x7f]].concat();
        let field = |number: u8, inside: &[u8]| {
            [
                &[number << 3 | 2, u8::try_from(inside.len()).unwrap_or(0)],
                inside,
            ]
            .concat()
        };
        Reply {
            emission: Some(Emission {
                created: field(1, &field(2, &field(2, &times))),
                ..Emission::default()
            }),
            ..Reply::default()
        }
    }
}
