//! Address checks: which addresses are on the public internet, and which others an operator allows.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A range of addresses, written as `10.1.0.0/16` or as one address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: u128,
    /// The prefix length out of 128 bits. An IPv4 range is stored as IPv4-mapped IPv6 addresses, so
    /// its prefix is 96 longer.
    prefix: u32,
    is_v4: bool,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if self.is_v4 {
            self.prefix - 96
        } else {
            self.prefix
        };
        let address = Ipv6Addr::from_bits(self.first).to_canonical();
        write!(f, "{address}/{prefix}")
    }
}

impl Network {
    /// Parses an address or a range; the error says what to write instead.
    ///
    /// # Errors
    /// Fails if the text is not a range, or if it names an address inside a range instead of the
    /// first.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "write an address or a range, such as 10.1.0.0/16 or fd00::/8".to_owned();
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let (most, before) = match address {
            IpAddr::V4(_) => (32, 96),
            IpAddr::V6(_) => (128, 0),
        };
        let prefix = match prefix {
            None => most,
            Some(text) => text
                .parse()
                .ok()
                .filter(|prefix| *prefix <= most)
                .ok_or_else(wrong)?,
        };
        let network = Self {
            first: bits(address),
            prefix: before + prefix,
            is_v4: before == 96,
        };
        if network.first & !network.mask() != 0 {
            return Err(format!(
                "write its first address: {:?}",
                Self {
                    first: network.first & network.mask(),
                    ..network
                }
            ));
        }
        Ok(network)
    }

    fn mask(self) -> u128 {
        match self.prefix {
            0 => 0,
            prefix => u128::MAX << (128 - prefix),
        }
    }

    /// Returns true if the address is in the range. An IPv4-mapped IPv6 address counts as its IPv4
    /// address.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        bits(address) & self.mask() == self.first
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Returns true if the address may be contacted without an operator's permission. It must not mean
/// this machine, its network, its cloud's metadata, many machines at once, or nobody.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = match a {
        // This network, private ones, loopback; multicast and reserved.
        0 | 10 | 127 | 224..=255 => true,
        // Behind a provider's NAT (RFC 6598); some clouds have their metadata there.
        100 => (64..128).contains(&b),
        // Link-local: the metadata of clouds.
        169 => b == 254,
        172 => (16..32).contains(&b),
        // Protocol assignments, documentation, private; the old relay of 6to4.
        192 => matches!((b, c), (0, 0 | 2) | (168, _) | (88, 99)),
        // Benchmarks of networks, documentation.
        198 => matches!((b, c), (18 | 19, _) | (51, 100)),
        203 => (b, c) == (0, 113),
        _ => false,
    };
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let last = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // IPv4 under another name: mapped, translated (NAT64), 6to4. The embedded IPv4 address
        // decides.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            last(high, low)
        }
        [0x2002, high, low, ..] => last(high, low),
        // Teredo, benchmarks, ORCHID; documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] => false,
        // Only these are assigned for the internet: not loopback, local, link-local or multicast.
        [first, ..] => first & 0xe000 == 0x2000 && first != 0x3fff,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first and the last address of every range that is not public.
    const PRIVATE: [&str; 49] = [
        "0.0.0.0",
        "0.255.255.255",
        "10.0.0.0",
        "10.255.255.255",
        "100.64.0.0",
        "100.127.255.255",
        "100.100.100.200",
        "127.0.0.1",
        "127.255.255.255",
        "169.254.0.0",
        "169.254.169.254",
        "172.16.0.0",
        "172.31.255.255",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.0",
        "192.168.255.255",
        "198.18.0.0",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:a00:1::1",
        "3fff::1",
        "fc00::1",
        "fd00:ec2::254",
        "fdff::1",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "ff02::1",
        "5f00::1",
    ];
    /// Public neighbours of those ranges, and some other public addresses.
    const PUBLIC: [&str; 22] = [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2001:4860:4860::8888",
        "2002:808:808::1",
        "2606:4700::1111",
    ];

    /// Every range that is not public is recognised by its first and last address; its neighbours
    /// are public.
    #[test]
    fn what_is_not_public_is_known_to_the_address() {
        for text in PRIVATE {
            let address = text.parse().expect("an address");
            assert!(!is_public(address), "{text}");
        }
        for text in PUBLIC {
            let address = text.parse().expect("an address");
            assert!(is_public(address), "{text}");
        }
    }

    /// A range contains the addresses from its first to its last, in IPv4 and IPv4-mapped notation.
    #[test]
    fn a_range_has_its_addresses() {
        let network = Network::parse("10.1.0.0/16").expect("a range");
        for (text, inside) in [
            ("10.1.0.0", true),
            ("10.1.255.255", true),
            ("::ffff:10.1.2.3", true),
            ("10.2.0.0", false),
            ("::1", false),
        ] {
            assert_eq!(
                network.contains(text.parse().expect("an address")),
                inside,
                "{text}"
            );
        }
        let one = Network::parse("::1").expect("an address");
        assert!(one.contains("::1".parse().expect("an address")));
        assert!(!one.contains("::2".parse().expect("an address")));
        let all = Network::parse("0.0.0.0/0").expect("a range");
        assert!(all.contains("9.9.9.9".parse().expect("an address")));
        assert!(!all.contains("fd00::1".parse().expect("an address")));
        assert_eq!(format!("{all:?} {network:?}"), "0.0.0.0/0 10.1.0.0/16");
    }

    /// Text that is not a range is an error that says what a range is.
    #[test]
    fn what_is_no_range_is_told() {
        for text in [
            "",
            "10.1",
            "10.0.0.0/33",
            "::/129",
            "host",
            "10.0.0.0/",
            "10.0.0.0/-1",
        ] {
            assert!(Network::parse(text).is_err(), "{text}");
        }
        assert_eq!(
            Network::parse("10.1.2.3/16"),
            Err("write its first address: 10.1.0.0/16".to_owned())
        );
    }
}
